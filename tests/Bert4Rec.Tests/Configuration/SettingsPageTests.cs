using Bert4Rec.Configuration;

namespace Bert4Rec.Tests.Configuration;

/// <summary>docs/settings.md has every key, with the defaults that the program gives it.</summary>
public class SettingsPageTests
{
    private static readonly string[] s_lines = File.ReadAllLines(Path.Combine(TestFiles.RepositoryRoot, "docs", "settings.md"));

    public static TheoryData<string> Keys => [.. ConfigKeys.All.Select(key => key.Name)];

    [Theory]
    [MemberData(nameof(Keys))]
    public void Every_key_has_its_defaults_and_says_what_it_is(string name)
    {
        var key = ConfigKeys.Get(name);
        string cloze = Code(key.OwnDefault ?? key.Default)!, next = Code(key.NextItem ?? key.Default)!, recbole = Code(key.Default)!;
        if (key.SasRec is not null)
            recbole += $" (SASRec {Code(key.SasRec)})";
        string start = Row(name, cloze, next == cloze ? null : next, recbole == cloze ? null : recbole) + " ";
        Assert.Contains(s_lines, line => line.StartsWith(start, StringComparison.Ordinal) && line.Length > start.Length + 5);
    }

    [Fact]
    public void What_the_data_decide_is_there()
    {
        IEnumerable<string> expected = ConfigKeys.All
            .Where(key => key.IsLeftToData(predictsNext: false) || key.IsLeftToData(predictsNext: true))
            .Select(key => Row(
                key.Name,
                Code(key.Sparse),
                Code(key.Small),
                Code(key.DenseNextItem),
                Code(key.LongHistories),
                Code(key.LargeCatalogue)));
        Assert.Contains(
            $"| key | cloze, fewer than {DataShape.SparseBelow} events an item | and than {DataShape.SmallBelow:N0} in all "
            + $"| next_item, {DataShape.SparseBelow} events an item and more | and {DataShape.LongHistories} a customer and more "
            + $"| {DataShape.LargeCatalogue:N0} items and more |",
            s_lines);
        string[] table = [.. s_lines.SkipWhile(line => line != "## What the data decide").Where(line => line.StartsWith("| `"))];
        Assert.Equal(expected, table);
    }

    private static string? Code(string? value) => value is null ? null : $"`{value}`";

    private static string Row(string name, params string?[] cells) =>
        $"| `{name}` |" + string.Concat(cells.Select(cell => cell is null ? " |" : $" {cell} |"));
}
