using System.CommandLine;
using Bert4Rec.Cli.Options;
using Bert4Rec.Cli.Output;
using Bert4Rec.Export;

namespace Bert4Rec.Cli.Commands;

/// <summary><c>export</c>: a trained model as ONNX, and its items' embeddings, for other programs.</summary>
internal static class ExportCommand
{
    public static Command Create(Terminal terminal)
    {
        Option<string> model = CommonOptions.Model();
        Option<string> output = CommonOptions.Output("Folder for the files; not the model's.", isRequired: true);
        Option<bool> json = CommonOptions.Json();
        var command = new Command("export", "Writes a trained model as ONNX, and its items' embeddings as .npy and Parquet.")
        {
            model, output, json,
        };
        command.SetAction(parsed =>
        {
            string directory = parsed.GetRequiredValue(output);
            ExportSummary summary = ModelExport.Export(parsed.GetRequiredValue(model), directory);
            if (summary.LeavesOutBlend)
                terminal.Warn("the scores of the exported model are the network's alone: the blend that recommend adds is not in it");
            if (parsed.GetValue(json))
            {
                Report.WriteJson(terminal.Out, summary);
                return ExitCodes.Success;
            }
            terminal.Out.WriteLine(
                $"{summary.Source} ({summary.Objective}, {summary.Items:N0} items, hidden size {summary.HiddenSize}) as "
                + $"{string.Join(", ", summary.Files.Keys)} in {directory}");
            return ExitCodes.Success;
        });
        return command;
    }
}
