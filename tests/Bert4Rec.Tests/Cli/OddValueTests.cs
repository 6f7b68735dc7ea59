using System.Text.RegularExpressions;
using Bert4Rec.Configuration;
using Bert4Rec.Tests.Faults;
using Bert4Rec.Tests.Training;

namespace Bert4Rec.Tests.Cli;

/// <summary>Whatever an option or a key of a config is given, the command does it or says in a sentence why not.</summary>
public sealed partial class OddValueTests(SmallShop shop) : IClassFixture<SmallShop>
{
    private static readonly string[] s_numbers =
        ["", "-1", "0", "1", "0.5", "2147483647", "99999999999999999999", "1e-300", "1e38", "1e308", "NaN", "inf", "x"];

    private static readonly string[] s_yaml =
    [
        .. s_numbers, "~", "''", "[]", "{}", "[~]", "[[1]]", "{a: 1}", "{inter: []}", "true",
        ".nan", ".inf", "-.inf", "'[1,0]'", "'[1e999,inf)'",
        "\"\\0\"", "\"\\n\"", "\"\\u2028\"", "../../x", "..", "/", "[", "*a", "&a", "!!int x", "? a",
        "GAUC", "MRR@2147483647", "uni300", "uni1000000000", "pop1",
    ];

    private static readonly string[] s_innerKeys =
    [
        "eval_args.mode", "eval_args.mode.valid", "eval_args.split", "eval_args.split.RS", "eval_args.split.LS",
        "eval_args.order", "eval_args.x",
        "load_col.inter", "load_col.item", "load_col.x", "val_interval.timestamp", "val_interval.x", "clip_grad_norm.max_norm",
        "clip_grad_norm.norm_type", "event_log.input", "event_log.x", "dataset.x", "epochs.x",
    ];

    public static TheoryData<string> Keys => [.. ConfigKeys.All.Select(key => key.Name).Concat(s_innerKeys)];

    /// <summary>What each command needs besides its options.</summary>
    public static TheoryData<string> Commands =>
    [
        "train", "run", "tune", "evaluate m", "recommend -m m --history a", "analyze a.csv", "clean a.csv -o m",
        "convert a.csv -o m --name m", "synthesize -o m --users 20 --items 20 --interactions 100"];

    [Theory]
    [MemberData(nameof(Keys))]
    public void Of_a_key(string key)
    {
        string run = shop.NewRun();
        string[] settings = shop.Settings("n_layers=1", "epochs=1", "blend=false");
        // By default a third of them, other ones for other keys.
        bool all = Campaign.Cases >= 1000;
        foreach (string value in s_yaml.Where((_, i) => all || i % 3 == key.Length % 3))
        {
            // That many epochs are no mistake.
            if (key == "epochs" && value == "2147483647")
                continue;
            string[] sets = [.. settings.Append($"{key}={value}").SelectMany(set => new[] { "--set", set })];
            Check(["train", "--output", run, "--threads", "1", "--device", "cpu", .. sets]);
        }
        string?[] names = [.. Directory.GetFileSystemEntries(shop.Folder).Select(Path.GetFileName)];
        Assert.Equal(["data"], names.Where(name => !name!.StartsWith("run ", StringComparison.Ordinal)));
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public void Of_an_option(string command)
    {
        string[] args = [.. command.Split(' ').Select(word => word is "m" or "a.csv" ? Path.Combine(shop.Folder, "data", word) : word)];
        string help = CommandLine.Run(args[0], "--help").Out;
        string[] without = ["--help", "--version", "--output", "--html"];
        string[] options = [.. OptionName().Matches(help).Select(match => match.Value).Distinct().Except(without)];
        Assert.NotEmpty(options);
        foreach (string option in options)
        {
            Check([.. args, option]);
            Check([.. args, option, "x", option, "y"]);
            foreach (string value in s_numbers.Where(value => args[0] != "synthesize" || value != "2147483647"))
                Check([.. args, option, value]);
        }
    }

    private static void Check(string[] args)
    {
        CommandLine.Outcome outcome = CommandLine.Run(args);
        string command = string.Join(' ', args);
        Assert.True(outcome.ExitCode is 0 or 1 or 2, $"{command}: exit {outcome.ExitCode}");
        Assert.False(outcome.Error.Contains("should not happen", StringComparison.Ordinal), $"{command}: {outcome.Error}");
        Assert.True(outcome.ExitCode == 0 || outcome.Error.Length > 0, $"{command}: failed without a word");
    }

    [GeneratedRegex("--[a-z-]+")]
    private static partial Regex OptionName();
}
