using System.Runtime.InteropServices;
using Bert4Rec.Data;

namespace Bert4Rec.Inference;

/// <summary>
/// How alike items are by what .item says of them, categories and brands: each item is a vector of unit length over the values (of token
/// columns) and words (of token_seq columns) that at least two items have, with the weight ln(items / n) for one that n have (the inverse
/// document frequency; Spärck Jones 1972), and two items are as alike as their vectors' product, the cosine.
/// </summary>
/// <param name="offsets">[items + 1] An item's words are those from its offset to the next one's.</param>
/// <param name="words">Ids from 0 on.</param>
/// <param name="weights">A weight for each of the words.</param>
internal sealed class ItemSimilarity(int[] offsets, int[] words, float[] weights, int wordCount)
{
    public int WordCount => wordCount;

    /// <summary>The arrays that another process needs for the same.</summary>
    public (int[] Offsets, int[] Words, float[] Weights) Arrays => (offsets, words, weights);

    /// <param name="dataset">The items, with their fields.</param>
    /// <param name="separator">Between the words of a token_seq column.</param>
    /// <returns>Null where no two items have a word in common.</returns>
    public static ItemSimilarity? Of(InteractionDataset dataset, char separator)
    {
        if (dataset.ItemFields is not { } table)
            return null;
        var ids = new Dictionary<(int Field, string Word), int>();
        List<int> counts = [];
        var wordsOf = new int[dataset.ItemCount][];
        var own = new HashSet<int>();
        for (int item = 0; item < wordsOf.Length; item++)
        {
            own.Clear();
            for (int field = 0; field < table.Fields.Count; field++)
            {
                if (table[item, field] is not string value)
                    continue;
                string[] itsWords = table.Fields[field].Type switch
                {
                    AtomicType.Token => [value],
                    AtomicType.TokenSequence => value.Split(separator, StringSplitOptions.RemoveEmptyEntries),
                    _ => [],
                };
                foreach (string word in itsWords)
                    Add(field, word);
            }
            wordsOf[item] = [.. own];
        }

        // Fewer than two items: nobody is alike by it. All of them: its weight is 0.
        double items = dataset.ItemCount - 1;
        double[] weightOf = [.. counts.Select(count => count > 1 ? Math.Log(items / count) : 0)];
        var offsets = new int[dataset.ItemCount + 1];
        List<int> words = [];
        List<float> weights = [];
        for (int item = 0; item < wordsOf.Length; item++)
        {
            double length = Math.Sqrt(wordsOf[item].Sum(word => weightOf[word] * weightOf[word]));
            foreach (int word in wordsOf[item])
            {
                if (weightOf[word] == 0)
                    continue;
                words.Add(word);
                weights.Add((float)(weightOf[word] / length));
            }
            offsets[item + 1] = words.Count;
        }
        return words.Count == 0 ? null : new(offsets, [.. words], [.. weights], counts.Count);

        void Add(int field, string word)
        {
            if (word.Length == 0)
                return;
            ref int id = ref CollectionsMarshal.GetValueRefOrAddDefault(ids, (field, word), out bool isKnown);
            if (!isKnown)
            {
                id = counts.Count;
                counts.Add(0);
            }
            if (own.Add(id))
                counts[id]++;
        }
    }

    /// <summary>Adds an item's vector to another, of <see cref="WordCount"/>.</summary>
    /// <param name="factor">By which its vector is multiplied.</param>
    public void AddTo(int item, float factor, Span<float> sum)
    {
        for (int i = offsets[item]; i < offsets[item + 1]; i++)
            sum[words[i]] += factor * weights[i];
    }

    /// <summary>Sets what <see cref="AddTo"/> changed to 0 again.</summary>
    public void Clear(int item, Span<float> sum)
    {
        for (int i = offsets[item]; i < offsets[item + 1]; i++)
            sum[words[i]] = 0;
    }

    /// <summary>The product of an item's vector and another, of <see cref="WordCount"/>.</summary>
    public float Product(int item, ReadOnlySpan<float> vector)
    {
        float sum = 0;
        for (int i = offsets[item]; i < offsets[item + 1]; i++)
            sum += weights[i] * vector[words[i]];
        return sum;
    }
}
