namespace Bert4Rec.Cli.Output;

/// <summary>What a command ends with; a signal adds its number to 128.</summary>
internal static class ExitCodes
{
    public const int Success = 0;
    public const int Failed = 1;
    public const int WrongUsage = 2;
}
