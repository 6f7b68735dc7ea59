using System.CommandLine;
using System.CommandLine.Parsing;
using Bert4Rec.Configuration;

namespace Bert4Rec.Cli.Options;

/// <summary>The options that say how a shop's own log says what ours does; see <see cref="LogFormat"/>.</summary>
internal sealed class LogFormatOptions
{
    private readonly Option<Dictionary<EventColumn, string>> _columns = new("--columns")
    {
        Description = "The log's names of the columns, where they are others; NAME= for one that is not to be read.",
        HelpName = "user_id=NAME,...",
        DefaultValueFactory = _ => [],
        CustomParser = ReadColumns,
    };

    private readonly Option<Dictionary<string, string>> _eventNames = new("--event-names")
    {
        Description = "The log's names of event types; other leaves such events out, any is any name.",
        HelpName = "purchase=NAME,other=any",
        DefaultValueFactory = _ => [],
        CustomParser = ReadEventNames,
    };

    private readonly Option<char> _separator = new("--separator")
    {
        Description = "What stands between the values of a line.",
        HelpName = "';'|tab",
        DefaultValueFactory = _ => LogFormat.Plain.Separator,
        CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (ConfigReader.SeparatorOf(text) is char separator and not '"')
                return separator;
            string doubled = text.Length == 2 && text[0] == text[1] && text[0] != '"'
                ? $" ('{text[0]}' leaves an empty column between two: the second value is column 3 then.)" : "";
            argument.AddError($"--separator must be one ASCII character, or tab, not '{text}'.{doubled}");
            return ',';
        },
    };

    private readonly Option<bool> _noHeader = new("--no-header")
    {
        Description = "The first line is an event; columns are numbered from 1: --columns user_id=1,product_id=2.",
    };

    private readonly Option<bool> _noQuotes = new("--no-quotes")
    {
        Description = "A quote is a character like others, and no value stands in quotes.",
    };

    public void AddTo(Command command)
    {
        foreach (Option option in new Option[] { _columns, _eventNames, _separator, _noHeader, _noQuotes })
            command.Options.Add(option);
    }

    public LogFormat Read(ParseResult parsed) => new()
    {
        Columns = parsed.GetRequiredValue(_columns),
        EventNames = parsed.GetRequiredValue(_eventNames),
        Separator = parsed.GetValue(_separator),
        HasHeader = !parsed.GetValue(_noHeader),
        HasQuotes = !parsed.GetValue(_noQuotes),
    };

    /// <summary>What was given, as settings of event_log.</summary>
    public IEnumerable<string> Settings(ParseResult parsed)
    {
        foreach (var (key, value) in Read(parsed).Settings())
            yield return $"event_log.{key}={value}";
        // A config may have another.
        if (parsed.GetResult(_separator) is { Implicit: false } && parsed.GetValue(_separator) == LogFormat.Plain.Separator)
            yield return "event_log.separator=','";
    }

    private static Dictionary<EventColumn, string> ReadColumns(ArgumentResult argument)
    {
        var columns = new Dictionary<EventColumn, string>();
        foreach (var (name, value) in Pairs(argument, "user_id=NAME"))
        {
            if (!EventColumns.TryParse(name, out EventColumn column))
                argument.AddError($"'{name}' in --columns is not one of {string.Join(", ", EventColumns.Names)}.");
            else if (value.Length == 0 && EventColumns.Required.Contains(column))
                argument.AddError($"--columns {name}= names no column, and every event needs its {name}.");
            else if (!columns.TryAdd(column, value))
                argument.AddError($"--columns names {name} twice.");
        }
        return columns;
    }

    private static Dictionary<string, string> ReadEventNames(ArgumentResult argument)
    {
        var names = new Dictionary<string, string>();
        foreach (var (kind, name) in Pairs(argument, "purchase=NAME"))
        {
            if (!LogFormat.EventKinds.Contains(kind))
                argument.AddError($"'{kind}' in --event-names is not one of {string.Join(", ", LogFormat.EventKinds)}.");
            else if (name.Length == 0)
                argument.AddError($"--event-names {kind}= has no name after the '='.");
            else if (!names.TryAdd(LogFormat.WordOf(name), kind))
                argument.AddError($"--event-names has '{name}' twice.");
        }
        return names;
    }

    private static IEnumerable<(string Key, string Value)> Pairs(ArgumentResult argument, string example)
    {
        foreach (string pair in argument.Tokens.SelectMany(token => token.Value.Split(',')))
        {
            int equals = pair.IndexOf('=');
            if (equals > 0)
                yield return (pair[..equals].Trim(), pair[(equals + 1)..].Trim());
            else
                argument.AddError($"'{pair}' is not like {example}.");
        }
    }
}
