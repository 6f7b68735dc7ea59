namespace Bert4Rec.Data.Synthesis;

/// <summary>Names and price levels, so that a synthetic shop's items can be told apart by a reader.</summary>
internal static class ShopNames
{
    private const string Consonants = "bdfgklmnprstvz", Vowels = "aeiou";

    private static readonly (string Name, int Cents)[] Categories =
    [
        ("electronics phone", 40_000), ("electronics headphones", 6_000), ("electronics charger", 2_000), ("electronics tablet", 30_000),
        ("computers notebook", 80_000), ("computers mouse", 2_500), ("computers monitor", 20_000), ("computers printer", 15_000),
        ("appliances kettle", 3_000), ("appliances vacuum", 18_000), ("appliances toaster", 4_000), ("appliances iron", 5_000),
        ("apparel shoes", 7_000), ("apparel jacket", 12_000), ("apparel socks", 800), ("apparel bag", 6_500),
        ("kids toys", 2_200), ("kids carriage", 25_000), ("sport bicycle", 45_000), ("sport trainer", 35_000),
        ("furniture chair", 9_000), ("furniture lamp", 5_500), ("garden mower", 22_000), ("garden hose", 2_800),
    ];

    /// <summary>"electronics phone"; beyond the names there are, "garden hose 2" and so on.</summary>
    public static string Category(int category)
    {
        string name = Categories[category % Categories.Length].Name;
        return category < Categories.Length ? name : $"{name} {(category / Categories.Length) + 1}";
    }

    /// <summary>The middle of a category's prices.</summary>
    public static int TypicalCents(int category) => Categories[category % Categories.Length].Cents;

    /// <summary>A word of two syllables or more, another for each number.</summary>
    public static string Brand(int brand)
    {
        int syllables = Consonants.Length * Vowels.Length;
        return (brand < syllables ? string.Empty : Brand((brand / syllables) - 1)) + Syllable(brand) + Syllable((brand * 3) + 1);

        static string Syllable(int i)
        {
            i = i * 29 % (Consonants.Length * Vowels.Length);
            return $"{Consonants[i % Consonants.Length]}{Vowels[i / Consonants.Length]}";
        }
    }
}
