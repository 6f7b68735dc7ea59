using Bert4Rec.Cli;

return Application.Run(args, Terminal.OfProcess());
