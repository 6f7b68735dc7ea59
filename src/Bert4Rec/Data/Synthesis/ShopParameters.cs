using System.Text.Json.Serialization;

namespace Bert4Rec.Data.Synthesis;

/// <summary>
/// Size and character of a synthetic shop: everything that can be tuned, in one place. <see cref="Shop"/> says what each share does.
/// </summary>
internal sealed record ShopParameters
{
    public int Users { get; init; } = 24_000;

    public int Items { get; init; } = 500;

    public int Interactions { get; init; } = 150_000;

    public ulong Seed { get; init; } = 2020;

    /// <summary>Share of purchases that repeat an earlier one.</summary>
    public double RepeatShare { get; init; } = 0.1;

    /// <summary>Of the other purchases, the share that complements the last one, …</summary>
    public double LastShare { get; init; } = 0.45;

    /// <summary>… and the share that complements the one before the last. The rest follows the categories' general popularity.</summary>
    public double SecondLastShare { get; init; } = 0.45;

    /// <summary>A category has two complements; this is the share of the first.</summary>
    public double FirstComplementShare { get; init; } = 0.9;

    /// <summary>Readiness to try another brand: as strong as so many purchases of the customer's own.</summary>
    public double BrandOpenness { get; init; } = 0.3;

    public int ItemsPerCategory { get; init; } = 50;

    /// <summary>Brands that a category sells.</summary>
    public int BrandsPerCategory { get; init; } = 4;

    /// <summary>
    /// Within a category and brand, item r (from 0) is bought in proportion to 1 / (r + this); the same for brands within a category.
    /// </summary>
    public double PopularityOffset { get; init; } = 0.5;

    [JsonIgnore]
    public int CategoryCount => Math.Max(1, Items / ItemsPerCategory);

    /// <exception cref="InputException">A value that no shop can have.</exception>
    public void Validate()
    {
        Require(Users >= 1, $"users {Users}: must be at least 1");
        Require(Items >= 1, $"items {Items}: must be at least 1");
        Require(ItemsPerCategory >= 1 && BrandsPerCategory >= 1, "a category needs at least one item and one brand");
        Require(RepeatShare is >= 0 and < 1, $"repeat share {RepeatShare}: must be in [0, 1)");
        Require(
            LastShare >= 0 && SecondLastShare >= 0 && LastShare + SecondLastShare <= 1,
            $"complement shares {LastShare} and {SecondLastShare}: must not be negative, nor above 1 together");
        Require(FirstComplementShare is >= 0 and <= 1, $"first complement share {FirstComplementShare}: must be in [0, 1]");
        Require(BrandOpenness > 0, $"brand openness {BrandOpenness}: must be above 0");
        Require(PopularityOffset > 0, $"popularity offset {PopularityOffset}: must be above 0");
    }

    private static void Require(bool condition, string message)
    {
        if (!condition)
            throw new InputException(message);
    }
}
