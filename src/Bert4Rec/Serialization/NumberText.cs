using System.Globalization;
using System.Text;

namespace Bert4Rec.Serialization;

/// <summary>Numbers as the shortest text that gives the same double, with at least one decimal, as Python writes them.</summary>
internal static class NumberText
{
    /// <summary>Bytes that <see cref="WriteShortest"/> writes at most.</summary>
    public const int Longest = 32;

    /// <summary>33.20 is 33.2, 100 is 100.0, 1e20 is 1e+20; NaN and the infinities are written by these names.</summary>
    /// <returns>The bytes written.</returns>
    public static int WriteShortest(double value, Span<byte> to)
    {
        value.TryFormat(to, out int written, "R", CultureInfo.InvariantCulture);
        if (!to[..written].Contains((byte)'E') && Math.Abs(value) < 1e16)
        {
            if (to[..written].Contains((byte)'.'))
                return written;
            ".0"u8.CopyTo(to[written..]);
            return written + 2;
        }
        if (!double.IsFinite(value))
            return written;
        string shortest = value.ToString("R", CultureInfo.InvariantCulture).Replace("E", "e", StringComparison.Ordinal);
        if (!shortest.Contains('e'))
        {
            // Python has an exponent from 1e16 on.
            int sign = shortest[0] == '-' ? 1 : 0;
            string digits = shortest[sign..].TrimEnd('0');
            string rest = digits.Length > 1 ? $".{digits[1..]}" : "";
            shortest = $"{shortest[..sign]}{digits[0]}{rest}e+{shortest.Length - sign - 1}";
        }
        return Encoding.ASCII.GetBytes(shortest, to);
    }

    /// <summary>Reads a number that is one: not NaN, nor beyond a double.</summary>
    public static bool TryParse(ReadOnlySpan<byte> text, out double value) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value) && double.IsFinite(value);

    /// <summary>The double nearest to a float's shortest text, which is what people mean by 33.2f.</summary>
    public static double Widen(float value)
    {
        Span<byte> text = stackalloc byte[Longest];
        value.TryFormat(text, out int written, "R", CultureInfo.InvariantCulture);
        return float.IsFinite(value) ? double.Parse(text[..written], NumberStyles.Float, CultureInfo.InvariantCulture) : value;
    }
}
