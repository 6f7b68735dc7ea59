using System.Buffers;

namespace Bert4Rec.Serialization;

internal static class FileName
{
    private static readonly SearchValues<char> s_refused =
        SearchValues.Create([.. "<>:\"|?*\\/", .. Enumerable.Range(0, 32).Select(code => (char)code), '\u007f']);

    private static readonly HashSet<string> s_devices = new(
        ["CON", "PRN", "AUX", "NUL", .. Enumerable.Range(1, 9).SelectMany(number => new[] { $"COM{number}", $"LPT{number}" })],
        StringComparer.OrdinalIgnoreCase);

    /// <summary>Whether a name is one on Windows, macOS and Linux, and of a file in the folder that it is put in.</summary>
    public static bool IsPortable(string name) =>
        name.Length > 0 && !name.ContainsAny(s_refused) && name[^1] is not ('.' or ' ')
        && !s_devices.Contains(name.Split('.')[0].TrimEnd());
}
