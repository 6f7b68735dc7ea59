using Bert4Rec.Cli;
using Bert4Rec.Cli.Output;

return Application.Run(args, Terminal.OfProcess());
