namespace Bert4Rec.Configuration;

/// <summary>The words of <see cref="Objective"/> in a config.</summary>
internal static class ObjectiveNames
{
    private const string Key = "objective", Cloze = "cloze", NextItem = "next_item", Auto = "auto";

    /// <summary>The objective that is named; cloze while both are to be compared.</summary>
    public static Objective Read(ConfigReader read) => Word(read) == NextItem ? Objective.NextItem : Objective.Cloze;

    /// <summary>Whether both objectives are to be compared.</summary>
    public static bool IsAuto(ConfigReader read) => Word(read) == Auto;

    public static string Of(Objective objective) => objective == Objective.NextItem ? NextItem : Cloze;

    /// <summary>"objective=next_item".</summary>
    public static string Setting(Objective objective) => $"{Key}={Of(objective)}";

    private static string Word(ConfigReader read) => read.OneOf(read[Key], Key, Cloze, NextItem, Auto);
}
