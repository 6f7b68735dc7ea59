using System.Text.Json.Serialization;
using Bert4Rec.Configuration;

namespace Bert4Rec.EventLog;

/// <summary>Count, mean, sample standard deviation, extremes and quartiles (linear between two values), missing values left out.</summary>
internal sealed record NumberSummary(
    double Count,
    double Mean,
    double Std,
    double Min,
    [property: JsonPropertyName("25%")] double Quarter,
    [property: JsonPropertyName("50%")] double Median,
    [property: JsonPropertyName("75%")] double ThreeQuarters,
    double Max);

/// <summary>What is left when users and items with fewer than <paramref name="K"/> purchases are taken out until none is.</summary>
internal sealed record CoreSize(int K, long Users, long Items, long Purchases);

/// <summary>What a log holds: analysis.json, in which the names are in snake_case.</summary>
/// <param name="RawRows">Rows that could be read.</param>
/// <param name="DuplicatedRows">Rows equal to an earlier one.</param>
/// <param name="Nulls">Missing values by column.</param>
/// <param name="Unique">Distinct values by column.</param>
/// <param name="EventType">Events by type, most frequent first.</param>
/// <param name="Price">The price; null where no row has one.</param>
/// <param name="RowsWithoutNulls">Rows with all nine values, or all that <see cref="LogFormat"/> says a log has.</param>
/// <param name="RowsWithoutDuplicates">Of those, the distinct ones.</param>
/// <param name="Purchases">Of those, the purchases.</param>
/// <param name="Sha256Purchase">Checksum of the log cleaned for purchases; null for a log too large to clean on the side.</param>
/// <param name="Sha256All">The same of all events.</param>
/// <param name="RowsByHour">Rows by hour of the day (UTC), hours without any left out.</param>
/// <param name="AverageByHour">Rows of an hour on the average day.</param>
/// <param name="AverageByWeekday">Rows of the average Monday, Tuesday and so on.</param>
/// <param name="Types">What each column's values are: time, integer, number or text.</param>
/// <param name="Head">The first rows of the first file as they are, its header before them.</param>
/// <param name="HistoryLengths">Users by their number of purchases.</param>
/// <param name="ItemPopularity">Purchases of the most purchased items, in falling order, at ranks 1, 2, 5, 10, 20, 50 and so on.</param>
/// <param name="TopTenthShare">Share of the purchases that go to the most purchased tenth of the items.</param>
/// <param name="RepeatPurchaseShare">Share of the purchases of an item that the user had purchased before; 0 without purchases.</param>
/// <param name="Approximate">Which figures are estimates, because the log passed a memory limit.</param>
internal sealed record LogAnalysis(
    long RawRows,
    long DuplicatedRows,
    IReadOnlyDictionary<string, long> Nulls,
    IReadOnlyDictionary<string, long> Unique,
    IReadOnlyDictionary<string, long> EventType,
    NumberSummary? Price,
    long RowsWithoutNulls,
    long RowsWithoutDuplicates,
    long Purchases,
    string? Sha256Purchase,
    string? Sha256All,
    IReadOnlyDictionary<string, long> RowsByHour,
    IReadOnlyDictionary<string, long> RowsByDay,
    IReadOnlyDictionary<string, long> PurchasesByDay,
    IReadOnlyDictionary<string, double> AverageByHour,
    IReadOnlyDictionary<string, double> AverageByWeekday,
    IReadOnlyDictionary<string, string> Types,
    IReadOnlyList<string> Head,
    IReadOnlyDictionary<int, long> HistoryLengths,
    IReadOnlyDictionary<int, long> ItemPopularity,
    double TopTenthShare,
    double RepeatPurchaseShare,
    IReadOnlyList<CoreSize> Cores,
    IReadOnlyList<string> Approximate,
    long BadRows)
{
    /// <summary>Rows of events that <see cref="LogFormat.EventNames"/> leave out; in the file where there are some.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public long LeftOut { get; init; }

    /// <summary>Rows that nothing was learned from, by reason.</summary>
    [JsonIgnore]
    public IReadOnlyDictionary<string, long> Dropped =>
        new Dictionary<string, long> { ["unreadable"] = BadRows, ["other event type"] = LeftOut }
            .Where(reason => reason.Value > 0).ToDictionary();

    /// <summary>What the reader saw.</summary>
    [JsonIgnore]
    public ReadSummary? Read { get; init; }
}
