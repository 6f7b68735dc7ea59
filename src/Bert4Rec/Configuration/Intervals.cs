using System.Globalization;

namespace Bert4Rec.Configuration;

/// <summary>A union of intervals as RecBole writes it: "[3,inf)", "(0,1];[3,4)". Square brackets include the end.</summary>
internal sealed class Intervals
{
    private Interval[] Parts { get; init; } = [];

    /// <summary>Left end of the first interval. RecBole keeps an item of .item that nobody bought where this is not above 0.</summary>
    public double FirstLowerEnd => Parts[0].Lower;

    public static bool TryParse(string text, out Intervals intervals)
    {
        string[] pieces = text.Split(';', StringSplitOptions.TrimEntries);
        var parts = new Interval[pieces.Length];
        intervals = new Intervals { Parts = parts };
        for (int i = 0; i < pieces.Length; i++)
        {
            string piece = pieces[i];
            if (piece.Length < 2 || piece[0] is not ('[' or '(') || piece[^1] is not (']' or ')'))
                return false;
            string[] ends = piece[1..^1].Split(',', StringSplitOptions.TrimEntries);
            if (ends.Length != 2 || !TryParseEnd(ends[0], out double lower) || !TryParseEnd(ends[1], out double upper) || lower > upper)
                return false;
            parts[i] = new Interval(lower, piece[0] == '[', upper, piece[^1] == ']');
        }
        return true;
    }

    public bool Contains(double value)
    {
        foreach (var part in Parts)
        {
            if ((value > part.Lower || (part.IncludesLower && value == part.Lower))
                && (value < part.Upper || (part.IncludesUpper && value == part.Upper)))
                return true;
        }
        return false;
    }

    private static bool TryParseEnd(string text, out double value)
    {
        switch (text.ToLowerInvariant())
        {
            case "inf" or "+inf" or "infinity":
                value = double.PositiveInfinity;
                return true;
            case "-inf" or "-infinity":
                value = double.NegativeInfinity;
                return true;
            default:
                return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out value) && double.IsFinite(value);
        }
    }

    private readonly record struct Interval(double Lower, bool IncludesLower, double Upper, bool IncludesUpper);
}
