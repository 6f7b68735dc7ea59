using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Numerics;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Inference;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Model;
using Bert4Rec.Serialization;
using Bert4Rec.Training;
using Bert4Rec.Tuning;

namespace Bert4Rec.Cli.Options;

/// <summary>Options that several commands share, and what they mean.</summary>
internal static class CommonOptions
{
    public static Option<string[]> Config() => new("--config")
    {
        Description = "A YAML file with RecBole's keys; of several the later ones win.",
        HelpName = "FILE",
    };

    public static Option<string[]> Set()
    {
        var option = new Option<string[]>("--set")
        {
            Description = "Sets one key over the files: --set epochs=20.",
            HelpName = "key=value",
        };
        option.Validators.Add(result =>
        {
            foreach (string? value in result.Tokens.Select(token => token.Value).Where(value => value.IndexOf('=') < 1))
                result.AddError($"'{value}' after --set is not of the form key=value.");
        });
        return option;
    }

    public static Option<string> Device()
    {
        var option = new Option<string>("--device")
        {
            Description = "What computes; auto takes a GPU where there is one that can, else the cpu.",
            HelpName = "auto|cpu|cuda[:i]|opencl[:i]|ilgpu-cpu|ptx[:sm]",
            DefaultValueFactory = _ => "auto",
        };
        option.Validators.Add(result =>
        {
            foreach (string device in result.Tokens.Select(token => token.Value).Where(device => !DeviceSet.IsName(device)))
                result.AddError($"'{device}' is not a device; auto, cpu, cuda[:i], opencl[:i], ilgpu-cpu and ptx[:sm] are.");
        });
        return option;
    }

    /// <param name="device">The option --device of the same command.</param>
    public static Option<Precision> Precision(Option<string> device)
    {
        var option = new Option<Precision>("--precision")
        {
            Description = "What products multiply in: fp32; or tf32 or bf16, on the tensor cores of a CUDA device "
                + $"(compute capability 8.0 or newer). [default: {default(Precision).Name()}]",
            HelpName = string.Join('|', PrecisionNames.All),
            CustomParser = argument =>
            {
                string text = argument.Tokens[0].Value;
                if (PrecisionNames.Find(text) is not Precision precision)
                {
                    argument.AddError($"'{text}' is not a precision; fp32, tf32 and bf16 are.");
                    return Kernels.Precision.Full;
                }
                return precision;
            },
        };
        option.Validators.Add(result =>
        {
            if (!TryGet(result, device, out string? name) || name!.Split(':')[0] is "auto" or "cuda" or GpuDevices.Emulator)
                return;
            foreach (var precision in result.Tokens.Select(token => PrecisionNames.Find(token.Value)))
            {
                if (precision is not (null or Kernels.Precision.Full))
                    result.AddError(DeviceException.NoTensorCores(name, precision.Value).Message);
            }
        });
        return option;
    }

    public static Option<string> Output(string description, string name = "DIR", bool isRequired = false) => new("--output", "-o")
    {
        Description = description,
        HelpName = name,
        Required = isRequired,
    };

    public static Option<T> Count<T>(string name, string description, T minimum, T otherwise, T? maximum = null)
        where T : struct, IBinaryInteger<T>, IMinMaxValue<T> =>
        Whole(minimum, new Option<T>(name) { Description = description, HelpName = "N", DefaultValueFactory = _ => otherwise }, maximum);

    public static Option<int> Threads() => Whole(minimum: 1, new Option<int>("--threads")
    {
        Description = "Threads to use.",
        HelpName = "N",
        DefaultValueFactory = _ => Environment.ProcessorCount,
    }, DeviceSet.MostThreads);

    public static Option<int?> Seed(string? description = null) => Whole(minimum: 0, new Option<int?>("--seed")
    {
        Description = description ?? "Seed of every random number; the same seed, device and threads give the same bits.",
        HelpName = "N",
    });

    /// <summary>The name of files that are to be written; one that is good on every system.</summary>
    public static Option<string> DatasetName()
    {
        var option = new Option<string>("--name")
        {
            Description = "Name of the dataset: its files are NAME.inter and so on.",
            HelpName = "NAME",
        };
        option.Validators.Add(result =>
        {
            if (result.Tokens is [{ Value: { Length: > 0 } name }] && !FileName.IsPortable(name))
                result.AddError($"{option.Name}: '{name}' is not allowed in a file name on every system.");
        });
        return option;
    }

    public static Option<bool> Json() => new("--json")
    {
        Description = "Write the result as JSON to standard output, and nothing else there.",
    };

    public static Option<string> Model() => new("--model", "-m")
    {
        Description = "Folder that train wrote.",
        HelpName = "DIR",
        Required = true,
    };

    /// <summary>A budget of a tuning.</summary>
    /// <param name="mayBeTrials">Whether a plain number is meant as trials.</param>
    public static Option<TuneBudget?> Budget(Option<TuneBudget?> option, bool mayBeTrials)
    {
        option.CustomParser = argument =>
        {
            string text = argument.Tokens[0].Value;
            if (TuneBudget.TryParse(text, mayBeTrials, out TuneBudget budget))
                return budget;
            string trials = mayBeTrials ? $", or a number of trials from 1 to {TuneBudget.MostTrials}" : "";
            argument.AddError($"{option.Name} must be a time like 90s, 30m or 1.5h{trials}, not '{text}'.");
            return null;
        };
        return option;
    }

    public static Option<string> Space() => new("--space")
    {
        Description = "A YAML file with what to draw from: 'n_layers: [1, 2]', 'learning_rate: {log_uniform: [0.0003, 0.003]}'.",
        HelpName = "FILE",
    };

    /// <summary>An option's value, for another's validator; false where it has none, of which its own error tells.</summary>
    public static bool TryGet<T>(SymbolResult result, Option<T> option, out T? value)
    {
        try
        {
            // Of an option that is not given the validators run before its default is there.
            value = result.GetResult(option) is null && option.HasDefaultValue ? (T?)option.GetDefaultValue() : result.GetValue(option);
            return true;
        }
        catch (InvalidOperationException)
        {
            value = default;
            return false;
        }
    }

    /// <summary>Refuses "" for every file, folder and name of a command: the system would take it for something else each time.</summary>
    /// <param name="mayBeEmpty">Names of the options for which "" has a meaning.</param>
    public static void RefuseEmpty(Command command, params string[] mayBeEmpty)
    {
        foreach (Option option in command.Options.Where(option => IsText(option.ValueType) && !mayBeEmpty.Contains(option.Name)))
            option.Validators.Add(result => CheckNotEmpty(result, option.Name));
        foreach (Argument argument in command.Arguments.Where(argument => IsText(argument.ValueType)))
            argument.Validators.Add(result => CheckNotEmpty(result, argument.Name));
    }

    /// <summary>Takes whole numbers from a minimum on, to a maximum if there is one.</summary>
    public static Option<T> Whole<T>(T minimum, Option<T> option, T? maximum = null)
        where T : struct, IBinaryInteger<T>, IMinMaxValue<T>
    {
        option.CustomParser = argument => ParseWhole(argument, option.Name, minimum, maximum);
        return option;
    }

    /// <inheritdoc cref="Whole{T}(T, Option{T}, T?)"/>
    public static Option<T?> Whole<T>(T minimum, Option<T?> option, T? maximum = null)
        where T : struct, IBinaryInteger<T>, IMinMaxValue<T>
    {
        option.CustomParser = argument => ParseWhole(argument, option.Name, minimum, maximum);
        return option;
    }

    /// <summary>The config that a training run left in its folder.</summary>
    /// <exception cref="InputException">There is none.</exception>
    public static string ConfigOfRun(string directory)
    {
        string path = Path.Combine(directory, ModelFolder.ConfigFileName);
        return File.Exists(path)
            ? path
            : throw new InputException(
                $"{directory}: no {ModelFolder.ConfigFileName} in it; give the --output folder of a training run");
    }

    /// <summary>The config of a run to go on with, and its warnings printed.</summary>
    public static RunConfig ResumedConfig(string directory, IReadOnlyList<string> settings, int? seed, Terminal terminal)
    {
        RunConfig config = TrainingSession.ReadConfig(directory, WithSeed(settings, seed), out var warnings);
        config.RequireObjective();
        foreach (string warning in warnings.Concat(config.Warnings))
            terminal.Warn(warning);
        return config;
    }

    /// <summary>Loads a config and prints its warnings.</summary>
    /// <param name="settings">"key=value", over the files.</param>
    /// <param name="seed">Over both, if there is one.</param>
    /// <param name="choosesObjective">Whether the command can choose the objective, where it is auto.</param>
    public static RunConfig LoadConfig(
        IReadOnlyList<string> files, IReadOnlyList<string> settings, int? seed, Terminal terminal, bool choosesObjective = false)
    {
        RunConfig config = RunConfig.Load(files, WithSeed(settings, seed));
        if (!choosesObjective)
            config.RequireObjective();
        foreach (string warning in config.Warnings)
            terminal.Warn(warning);
        return config;
    }

    /// <summary>Refuses a config that the results would replace: a training writes its own config.yaml.</summary>
    /// <exception cref="InputException">The folder has a config of this name that no training wrote.</exception>
    public static void CheckKeepsConfig(IEnumerable<string> files, string directory)
    {
        string written = Path.Combine(directory, ModelFolder.ConfigFileName);
        if (File.Exists(Path.Combine(directory, ModelFolder.ModelFileName)) || File.Exists(Path.Combine(directory, Checkpoint.FileName))
            || files.FirstOrDefault(file => UnixFile.IsSame(file, written)) is not string file)
            return;
        throw new InputException($"{file}: the settings as resolved would be written over it; give another --output, or rename it");
    }

    private static IReadOnlyList<string> WithSeed(IReadOnlyList<string> settings, int? seed) =>
        seed is int value ? [.. settings, $"seed={value}"] : settings;

    private static bool IsText(Type type) => type == typeof(string) || type == typeof(string[]);

    private static void CheckNotEmpty(SymbolResult result, string name)
    {
        if (result.Tokens.Any(token => token.Value.Length == 0))
            result.AddError($"{name} must not be empty.");
    }

    private static T ParseWhole<T>(ArgumentResult argument, string option, T minimum, T? maximum)
        where T : struct, IBinaryInteger<T>, IMinMaxValue<T>
    {
        string text = argument.Tokens[0].Value;
        T most = maximum ?? T.MaxValue;
        if (T.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out T value) && value >= minimum && value <= most)
            return value;
        argument.AddError($"{option} must be a whole number from {minimum} to {most}, not '{text}'.");
        return default;
    }
}
