namespace Bert4Rec.Configuration;

/// <summary>The words of <see cref="Objective"/> in a config.</summary>
internal static class ObjectiveNames
{
    private const string Key = "objective", Cloze = "cloze", NextItem = "next_item";

    public static Objective Read(ConfigReader read) =>
        read.OneOf(read[Key], Key, Cloze, NextItem) == NextItem ? Objective.NextItem : Objective.Cloze;

    public static string Of(Objective objective) => objective == Objective.NextItem ? NextItem : Cloze;
}
