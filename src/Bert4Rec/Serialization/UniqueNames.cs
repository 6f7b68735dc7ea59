namespace Bert4Rec.Serialization;

internal static class UniqueNames
{
    /// <summary>A data file's names beside a table's own: one that is taken gets underscores until it is not.</summary>
    public static IEnumerable<string> Beside(IEnumerable<string> own, IEnumerable<string> names)
    {
        HashSet<string> taken = [.. own];
        foreach (string name in names)
        {
            string unique = name;
            while (!taken.Add(unique))
                unique += "_";
            yield return unique;
        }
    }
}
