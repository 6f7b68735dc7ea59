namespace Bert4Rec.Inference;

/// <summary>The best of scores that are all there already.</summary>
internal static class BestScores
{
    /// <summary>The k best of some items, best first; equal scores rank by lower id.</summary>
    /// <param name="k">How many, at most.</param>
    /// <param name="items">Ascending.</param>
    /// <param name="scores">Theirs, numbers all.</param>
    public static (int Item, float Score)[] Of(int k, ReadOnlySpan<int> items, ReadOnlySpan<float> scores)
    {
        k = Math.Min(k, Math.Max(1, items.Length));
        // A key has a score's bits, mapped so that a lower number is a higher score, above the item's place.
        int room = (2 * k) + 64;
        ulong worst = ulong.MaxValue;
        var best = new List<ulong>(Math.Min(room, items.Length));
        for (int i = 0; i < items.Length; i++)
        {
            // Adding 0 makes 0 of −0.
            uint bits = BitConverter.SingleToUInt32Bits(scores[i] + 0f);
            uint order = (bits & 0x8000_0000) != 0 ? bits : ~(bits | 0x8000_0000);
            ulong key = ((ulong)order << 32) | (uint)i;
            if (key >= worst)
                continue;
            best.Add(key);
            if (best.Count == room)
                Trim();
        }
        Trim();
        var ranking = new (int, float)[best.Count];
        for (int place = 0; place < ranking.Length; place++)
            ranking[place] = (items[(int)(uint)best[place]], scores[(int)(uint)best[place]]);
        return ranking;

        void Trim()
        {
            best.Sort();
            if (best.Count < k)
                return;
            best.RemoveRange(k, best.Count - k);
            worst = best[^1];
        }
    }
}
