using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace Bert4Rec.Configuration;

/// <summary>
/// What YAML may ask for, looked at in its stream of events before anything is built from it: building is recursive, so deep nesting would
/// end the process, and every alias is a copy, so few lines of them could fill the memory.
/// </summary>
internal static class YamlLimits
{
    /// <summary>Lists and mappings in each other.</summary>
    public const int Depth = 32;

    /// <summary>Nodes and characters that all aliases together stand for.</summary>
    private const int AliasedSize = 100_000;

    /// <param name="where">"FILE:LINE" of a place in it.</param>
    /// <exception cref="InputException">A limit is exceeded.</exception>
    /// <exception cref="YamlException">This is no YAML, or an alias stands for nothing before it.</exception>
    public static void Check(string text, Func<Mark, string> where)
    {
        var parser = new Parser(new StringReader(text));
        var open = new Stack<(AnchorName Anchor, long SizeBefore)>();
        var anchored = new Dictionary<AnchorName, long>();
        long size = 0, aliased = 0;
        while (parser.MoveNext())
        {
            switch (parser.Current)
            {
                case AnchorAlias alias:
                    if (!anchored.TryGetValue(alias.Value, out long copied))
                        throw new YamlException(alias.Start, alias.End, $"the alias *{alias.Value} stands for nothing before it");
                    size += copied;
                    aliased += copied;
                    if (aliased > AliasedSize)
                        throw Exceeded(alias, $"the aliases up to here stand for more than {AliasedSize} nodes and characters");
                    break;
                case Scalar scalar:
                    Keep(scalar.Anchor, 1 + scalar.Value.Length);
                    size += 1 + scalar.Value.Length;
                    break;
                case NodeEvent start:
                    if (open.Count == Depth)
                        throw Exceeded(start, $"lists and mappings are nested more than {Depth} deep");
                    open.Push((start.Anchor, size++));
                    break;
                case MappingEnd or SequenceEnd:
                    var (anchor, before) = open.Pop();
                    Keep(anchor, size - before);
                    break;
            }
        }

        void Keep(AnchorName anchor, long itsSize)
        {
            if (!anchor.IsEmpty)
                anchored[anchor] = itsSize;
        }

        InputException Exceeded(ParsingEvent at, string what) =>
            new($"{where(at.Start)}: {what}; write it flatter, or out") { IsWrongUsage = true };
    }
}
