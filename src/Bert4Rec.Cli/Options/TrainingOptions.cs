using System.CommandLine;
using Bert4Rec.Cli.Output;
using Bert4Rec.Distributed;
using Bert4Rec.Kernels;
using Bert4Rec.Training;

namespace Bert4Rec.Cli.Options;

/// <summary>The options that all commands that train have in common.</summary>
internal sealed class TrainingOptions
{
    private readonly Option<string> _device = CommonOptions.Device();
    private readonly Option<Precision> _precision;
    private readonly Option<int> _threads = CommonOptions.Threads();
    private readonly Option<bool> _cache = new("--cache")
    {
        Description = "Keep what is read of the dataset beside its .inter, and read that where the files are still the same.",
    };

    public TrainingOptions() => _precision = CommonOptions.Precision(_device);

    public Option<string[]> Config { get; } = CommonOptions.Config();

    public Option<string[]> Set { get; } = CommonOptions.Set();

    public Option<int?> Seed { get; } = CommonOptions.Seed();

    public Option<bool> Json { get; } = CommonOptions.Json();

    /// <summary>A command with its own options between <see cref="Config"/> and <see cref="Set"/> and the others.</summary>
    public Command NewCommand(string name, string description, params Option[] own)
    {
        var command = new Command(name, description);
        foreach (Option option in (Option[])[Config, Set, .. own, _device, _precision, _threads, Seed, _cache, Json])
            command.Options.Add(option);
        return command;
    }

    /// <summary>On what to train, going on with what is there.</summary>
    /// <param name="directory">Gets all that the command makes.</param>
    public RunOptions Read(ParseResult parsed, string directory, ProcessGroup ranks, Terminal terminal)
    {
        // None asked for: one a core, and with several ranks a machine's cores shared among those on it.
        int threads = parsed.GetResult(_threads) is { Implicit: false } ? parsed.GetValue(_threads) : 0;
        return new(directory, parsed.GetRequiredValue(_device), threads, true, parsed.GetValue(_precision))
        {
            Cache = parsed.GetValue(_cache) ? new(terminal.Warn) : null,
            Ranks = ranks,
        };
    }
}
