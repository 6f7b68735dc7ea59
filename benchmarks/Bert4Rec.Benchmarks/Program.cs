using System.CommandLine;
using Bert4Rec;
using Bert4Rec.Benchmarks;
using Bert4Rec.Cli.Output;
using Bert4Rec.Kernels;

var terminal = Terminal.OfProcess();
var root = new RootCommand("Measures how fast this is, and where the time goes.")
{
    ProfileCommand.Create(terminal),
    EpochCommand.Create(terminal),
    ScalingCommand.Create(terminal),
    LatencyCommand.Create(terminal),
    ServeCommand.Create(terminal),
    KernelsCommand.Create(terminal),
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
