using System.CommandLine;
using Bert4Rec;
using Bert4Rec.Cli;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels;
using Bert4Rec.Tools;

var terminal = Terminal.OfProcess();
var root = new RootCommand("What only those who work on the kernels run.")
{
    PtxCommand.Create(terminal),
    StepCommand.Create(terminal),
    LadderCommand.Create(terminal),
    AlgorithmsCommand.Create(terminal),
};
try
{
    return root.Parse(args).Invoke(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (Exception e) when (e is InputException or DeviceException)
{
    terminal.Error.WriteLine($"error: {Terminal.OneLine(e.Message)}");
    return 1;
}
