using System.CommandLine;
using System.Globalization;
using System.Text;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Data;
using Bert4Rec.EventLog;
using Bert4Rec.Pipeline;
using Bert4Rec.Serialization;
using Spectre.Console;

namespace Bert4Rec.Cli.Options;

/// <summary>What the commands on event logs share: their options, and the counts of rows they end with.</summary>
internal static class EventLogOptions
{
    /// <summary>The share of the events that may go for a missing value without a word.</summary>
    private const double LargeLoss = 0.1;

    private const string Dropped = "dropped: ";

    private static string OptionalColumns => string.Join(", ", EventColumns.Optional.Select(EventColumns.Name));

    public static Argument<string[]> Inputs() => new("INPUT")
    {
        Description = "Event logs: .csv, .csv.gz or .parquet files, or folders of them.",
        Arity = ArgumentArity.OneOrMore,
    };

    public static Option<double> MaxBadRows() => new("--max-bad-rows")
    {
        Description = "The largest share of rows that may be unreadable: 0.1%, or 0.001.",
        HelpName = "SHARE",
        DefaultValueFactory = _ => new ReadOptions().MaxBadRows,
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            bool percent = text.EndsWith('%');
            if (double.TryParse(text.TrimEnd('%'), NumberStyles.Float, CultureInfo.InvariantCulture, out double value)
                && (percent ? value / 100 : value) is >= 0 and <= 1 and var share)
                return share;
            argument.AddError($"--max-bad-rows must be a share like 0.1% or 0.001, not '{text}'.");
            return 0;
        },
    };

    public static Option<EventTypes?> Events() => new("--events")
    {
        Description = $"Events to keep: all, or some of {string.Join(",", EventTypeNames.Names)}; those of purchase otherwise.",
        HelpName = "purchase|cart,purchase|all",
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (!EventTypeNames.TryParse(text, out EventTypes types))
                argument.AddError($"--events must be all, or some of {string.Join(",", EventTypeNames.Names)}, not '{text}'.");
            return types;
        },
    };

    public static Option<EventColumn[]> KeepNulls() => new("--keep-nulls")
    {
        Description = $"Columns that may be empty, a row without them being kept: all, or some of {OptionalColumns}.",
        HelpName = "COLUMN,...|all",
        DefaultValueFactory = _ => [],
        CustomParser = argument =>
        {
            var columns = new List<EventColumn>();
            foreach (string name in argument.Tokens.SelectMany(token => token.Value.Split(',')))
            {
                if (name == "all")
                    columns.AddRange(EventColumns.Optional);
                else if (EventColumns.TryParse(name, out EventColumn column) && !EventColumns.Required.Contains(column))
                    columns.Add(column);
                else
                    argument.AddError($"'{name}' after --keep-nulls is not one of {OptionalColumns}.");
            }
            return [.. columns];
        },
    };

    /// <summary>Says how rows that were dropped for a missing value are kept, where they are many.</summary>
    public static void WriteLostRows(TextWriter log, long kept, IReadOnlyDictionary<string, long> dropped)
    {
        string[] columns = [.. EventColumns.Optional.Select(EventColumns.Name).Where(name => Lost(name) > 0)];
        long lost = columns.Sum(Lost);
        if (lost <= (kept + lost) * LargeLoss)
            return;
        log.WriteLine(
            $"         {lost:N0} of {kept + lost:N0} such events have no {string.Join(" or ", columns)} and are left out; "
            + "keep_nulls (of event_log; --keep-nulls) keeps them, with a list of all such columns, or all");

        long Lost(string name) => dropped.GetValueOrDefault($"no {name}");
    }

    /// <summary>Names the first unreadable rows, and what looks wrong in the others.</summary>
    public static void WarnOfBadRows(Terminal terminal, ReadSummary read)
    {
        foreach (BadRow row in read.Examples)
            terminal.Warn($"{row.File}:{row.Line}: {row.Reason}");
        if (read.BadRows > read.Examples.Count)
            terminal.Warn($"and {read.BadRows - read.Examples.Count:N0} more rows that cannot be read");
        foreach (string warning in read.Warnings)
            terminal.Warn(warning);
    }

    /// <summary>What a step of a run did: unreadable rows as warnings, and a line.</summary>
    public static void WriteStep(Terminal terminal, TextWriter log, StepReport step)
    {
        if (step.Read is not null)
            WarnOfBadRows(terminal, step.Read);
        log.WriteLine(Describe(step));
        if (step.Name == "clean" && step.Rows.TryGetValue("kept", out long kept))
        {
            var dropped = step.Rows.Where(row => row.Key.StartsWith(Dropped, StringComparison.Ordinal))
                .ToDictionary(row => row.Key[Dropped.Length..], row => row.Value);
            WriteLostRows(log, kept, dropped);
        }
    }

    /// <summary>Rows read, kept, and dropped by reason.</summary>
    public static void WriteRows(Terminal terminal, long read, long kept, IReadOnlyDictionary<string, long> dropped)
    {
        var table = new Table { Border = TableBorder.None, ShowHeaders = false };
        table.AddColumn("");
        table.AddColumn(new TableColumn("").RightAligned());
        Add("rows read", read);
        Add("rows kept", kept);
        foreach ((string reason, long rows) in dropped)
            Add($"dropped: {reason}", rows);
        Report.WriteTable(terminal, table);

        void Add(string name, long rows) => table.AddRow(new Text(name), new Text(rows.ToString("N0", CultureInfo.InvariantCulture)));
    }

    /// <summary>"clean    80,000 rows read, 60,000 kept, 20,000 dropped (other event type 20,000)".</summary>
    private static string Describe(StepReport step)
    {
        string rows = "";
        if (step.Rows.TryGetValue("read", out long read) && step.Rows.TryGetValue("kept", out long kept))
        {
            string reasons = string.Join(", ", step.Rows.Where(row => row.Key.StartsWith(Dropped, StringComparison.Ordinal))
                .Select(row => $"{row.Key[Dropped.Length..]} {row.Value:N0}"));
            rows = $"{read:N0} rows read, {kept:N0} kept" + (reasons.Length > 0 ? $", {read - kept:N0} dropped ({reasons})" : "");
        }
        if (step.Rows.TryGetValue("epochs", out long epochs))
            rows = epochs == 0 ? "none: the split holds no event back" : $"{epochs:N0} epochs on all {step.Rows["events"]:N0} events";
        rows = step.Note ?? rows;
        string state = step.Ran ? rows : rows.Length > 0 ? $"unchanged: {rows}" : "unchanged";
        return $"{step.Name,-9}{(state.Length > 0 ? state : "done")}";
    }

    /// <summary>--input as settings: event logs, or the atomic files of one dataset.</summary>
    /// <param name="ofLog">Settings of event_log that were given beside it.</param>
    /// <exception cref="InputException">They are not of one kind, or <paramref name="ofLog"/> has no log to go with.</exception>
    public static IEnumerable<string> InputSettings(string[] inputs, IReadOnlyList<string> ofLog)
    {
        if (inputs.Length == 0)
            return ofLog;
        string?[] atomic = [.. inputs.Select(AtomicFile)];
        if (atomic.All(file => file is null))
            return [$"event_log.input=[{string.Join(", ", inputs.Select(RunConfig.Quoted))}]", .. ofLog];
        if (atomic is not [string interactions])
            throw new InputException(
                $"--input {string.Join(' ', inputs)}: atomic files are given alone, by their .inter file or its folder");
        if (ofLog.Count > 0)
        {
            throw new InputException(
                $"--input {interactions}: {ofLog[0][..ofLog[0].IndexOf('=')]} is for event logs; of atomic files --set says it "
                + "(USER_ID_FIELD, ITEM_ID_FIELD, TIME_FIELD, field_separator)")
            { IsWrongUsage = true };
        }
        string name = Path.GetFileName(interactions);
        name = name[..name.LastIndexOf(".inter", StringComparison.Ordinal)];
        string folder = Path.GetDirectoryName(Path.GetFullPath(interactions))!;
        return [$"data_path={RunConfig.Quoted(folder)}", $"dataset={RunConfig.Quoted(name)}", "event_log=~"];
    }

    /// <summary>Of an .inter file that <c>convert</c> wrote, what its columns are called, but for what a config says; nothing of
    /// others.</summary>
    public static IEnumerable<string> ColumnSettings(string[] inputs, string[] configs)
    {
        if (inputs is not [string input] || AtomicFile(input) is not string interactions)
            return [];
        using var file = new InputFile(interactions);
        byte[] start = new byte[1 << 12];
        string header = Encoding.UTF8.GetString(start, 0, file.Read(start, start.Length, line: 1)).Split('\n')[0].TrimEnd('\r');
        if (header != AtomicFileWriter.InteractionHeader)
            return [];
        RunConfig given = RunConfig.Load(configs, []);
        return RunConfig.ColumnsOfEventLogs.Where(setting => !given.IsGiven(setting[..setting.IndexOf('=')]));
    }

    /// <summary>Refuses an input that the settings it became do not lead to, another file being in its way.</summary>
    /// <exception cref="InputException">Another file would be read.</exception>
    public static void CheckIsRead(string[] inputs, RunConfig config)
    {
        if (inputs.Length != 1 || config.EventLog is not null || AtomicFile(inputs[0]) is not string given)
            return;
        string read = new DatasetFiles(config).Interactions;
        if (!UnixFile.IsSame(read, given))
            throw new InputException($"--input {inputs[0]}: {read} would be read instead; move one of them to a folder of its own");
    }

    /// <summary>The .inter file that an input is, or that a folder holds; null for an event log.</summary>
    private static string? AtomicFile(string input)
    {
        if (!Directory.Exists(input))
            return IsAtomic(input) ? input : null;
        string[] files = [.. Directory.EnumerateFiles(input).Where(IsAtomic).Order(StringComparer.Ordinal)];
        return files.Length < 2
            ? files.FirstOrDefault()
            : throw new InputException(
                $"--input {input}: {string.Join(" and ", files.Select(Path.GetFileName))} are in it; name one of them");
    }

    private static bool IsAtomic(string path) =>
        path.EndsWith(".inter", StringComparison.Ordinal) || path.EndsWith(".inter.gz", StringComparison.Ordinal);
}
