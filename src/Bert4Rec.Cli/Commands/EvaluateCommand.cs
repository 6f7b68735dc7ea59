using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Configuration;
using Bert4Rec.Evaluation;
using Bert4Rec.Inference;
using Bert4Rec.Kernels;
using Bert4Rec.Pipeline;
using Bert4Rec.Tuning;

namespace Bert4Rec.Cli.Commands;

/// <summary>
/// <c>evaluate</c>: a trained model's metrics beside the baselines', with any key that concerns evaluation or data changed.
/// </summary>
internal static class EvaluateCommand
{
    public static Command Create(Terminal terminal)
    {
        var model = new Argument<string>("MODEL_DIR") { Description = "Folder that train wrote." };
        Option<string[]> config = CommonOptions.Config();
        config.Description = "A YAML file whose keys (eval_args, metrics, topk) replace those the model was trained with.";
        Option<string[]> set = CommonOptions.Set();
        Option<string> device = CommonOptions.Device();
        Option<Precision> precision = CommonOptions.Precision(device);
        Option<int> threads = CommonOptions.Threads();
        Option<int?> seed = CommonOptions.Seed();
        Option<bool> json = CommonOptions.Json();
        var split = new Option<string>("--split")
        {
            Description = "The part to evaluate on.",
            HelpName = "valid|test",
            DefaultValueFactory = _ => "test",
        };
        split.AcceptOnlyFromAmong("valid", "test");
        var command = new Command("evaluate", "Evaluates a trained model.")
        {
            model, config, set, split, device, precision, threads, seed, json,
        };
        command.SetAction(parsed =>
        {
            string directory = parsed.GetRequiredValue(model);
            string part = parsed.GetRequiredValue(split);
            string runDevice = parsed.GetRequiredValue(device);
            string[] files = [CommonOptions.ConfigOfRun(directory), .. parsed.GetValue(config) ?? []];
            RunConfig runConfig = CommonOptions.LoadConfig(files, parsed.GetValue(set) ?? [], parsed.GetValue(seed), terminal);

            if (runConfig.DataPath != RunConfig.Load([files[0]], []).DataPath && ModelFolder.HasEvents(directory))
                terminal.Warn("data_path is not looked at: the model is evaluated on its folder's events");
            return Interruption.Run(
                terminal,
                (progress, cancellation) => EvaluationRun.Evaluate(
                    directory, runConfig, part, runDevice, parsed.GetValue(threads), progress, cancellation, parsed.GetValue(precision)),
                result =>
                {
                    if (parsed.GetValue(json))
                    {
                        Report.WriteJson(terminal.Out, result);
                        return;
                    }
                    string named = EvaluationSettings.Named(
                        part == "valid" ? runConfig.EvalArgs.ValidMode : runConfig.EvalArgs.TestMode, result.ExcludeSeen);
                    terminal.Out.WriteLine(
                        $"{result.Samples:N0} {part} samples, {ProgressReporter.Duration(result.Seconds)}{named}:");
                    Report.WriteMetrics(
                        terminal, result.Metrics, result.StandardErrors, result.Baselines, runConfig.MetricDecimalPlace);
                    bool hasTriedNext = new TuneFolder(directory).HasTriedNextItem(runConfig);
                    string verdict = Comparison.Verdict(result.Comparisons, isLastBest: false, hasTriedNext, result.RulesExcludeSeen);
                    if (part == "valid")
                        verdict += " Validation chose the epoch and the blend: these figures flatter the model.";
                    terminal.Out.WriteLine(verdict);
                });
        });
        return command;
    }
}
