using System.Globalization;
using System.Text.RegularExpressions;
using Bert4Rec.Serialization;

namespace Bert4Rec.Tuning;

/// <param name="Budget">What a tuning may cost. Time is an upper limit, kept to within an epoch.</param>
/// <param name="Space">What it draws from; null for <see cref="SearchSpace.Default"/>.</param>
internal sealed record TuneOptions(TuneBudget Budget, SearchSpace? Space = null);

/// <summary>What a tuning may cost: a number of trials, which gives the same choice each time, or the time that it takes.</summary>
internal sealed partial record TuneBudget(int? Trials, TimeSpan? Time)
{
    public const int MostTrials = 1000;

    private const int MostHours = 1000;

    /// <summary>Half an hour.</summary>
    public static TuneBudget Default { get; } = new(null, TimeSpan.FromMinutes(30));

    public static TuneBudget OfTrials(int trials) => new(trials, null);

    public static TuneBudget OfTime(TimeSpan time) => new(null, time);

    /// <summary>"90s", "30m", "1.5h"; with <paramref name="mayBeTrials"/> also "27".</summary>
    public static bool TryParse(string text, bool mayBeTrials, out TuneBudget budget)
    {
        budget = Default;
        Match match = Pattern().Match(text);
        if (!match.Success || !double.TryParse(match.Groups[1].Value, CultureInfo.InvariantCulture, out double number) || number <= 0)
            return false;
        double hours = match.Groups[2].Value switch { "s" => number / 3600, "m" => number / 60, _ => number };
        if (match.Groups[2].Length == 0)
        {
            budget = OfTrials((int)Math.Min(number, MostTrials + 1));
            return mayBeTrials && number == Math.Floor(number) && number <= MostTrials;
        }
        budget = OfTime(TimeSpan.FromHours(Math.Min(hours, MostHours)));
        return hours <= MostHours;
    }

    /// <summary>"27 trials", "1800 seconds".</summary>
    public override string ToString() => Trials is int trials
        ? Printable.Count(trials, "trial")
        : string.Create(CultureInfo.InvariantCulture, $"{Time!.Value.TotalSeconds} seconds");

    [GeneratedRegex(@"^([0-9]{1,9}(?:\.[0-9]{1,9})?)([smh]?)$")]
    private static partial Regex Pattern();
}
