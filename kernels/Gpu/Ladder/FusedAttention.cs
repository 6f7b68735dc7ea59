using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 2: in one launch, without the weights in memory. A warp has a query; the warps of a group share keys and values, which they copy to
/// shared memory 32 at a time. Lane k computes the score of key k, alone; the 32 weights go to shared memory too, and with them each lane
/// adds up its column of the values. But a weight needs the maximum of all scores: so there are two walks along the keys, and each score
/// is computed twice.
/// </summary>
internal static class FusedAttention
{
    public const int Threads = 256, Tile = 32;

    /// <summary>Queries of a group.</summary>
    public const int Queries = Threads / Tile;

    /// <summary>Rows of keys are longer by four: lanes that read four columns of 32 rows would all meet in four banks else.</summary>
    public const int RowLength = SingleHead.Width + 4;

    public static void Kernel(SingleHead h)
    {
        var queries = SharedMemory.Allocate<float>(Queries * SingleHead.Width);
        var keys = SharedMemory.Allocate<float>(Tile * RowLength);
        var values = SharedMemory.Allocate<float>(Tile * SingleHead.Width);
        var weights = SharedMemory.Allocate<float>(Threads);
        int lane = Group.IdxX % Tile, warp = Group.IdxX - lane;
        int at = (Grid.IdxX * Threads) + Group.IdxX;
        queries[Group.IdxX] = h.Q[at] * SingleHead.Scale;
        float max = float.NegativeInfinity, sum = 0, o = 0;
        for (int first = 0; first < h.T; first += Tile)
        {
            Copy(h.K, first, keys, RowLength);
            Group.Barrier();
            max = default(Max).Combine(max, Score(queries, warp, keys, lane));
            Group.Barrier();
        }
        for (int away = Tile / 2; away > 0; away /= 2)
            max = default(Max).Combine(max, Warp.ShuffleXor(max, away));
        for (int first = 0; first < h.T; first += Tile)
        {
            Copy(h.K, first, keys, RowLength);
            Copy(h.V, first, values, SingleHead.Width);
            Group.Barrier();
            float weight = DeviceMath.Exp(Score(queries, warp, keys, lane) - max);
            sum += weight;
            weights[Group.IdxX] = weight;
            Group.Barrier();
            o += WeightedSum(weights, warp, values, lane);
            Group.Barrier();
        }
        for (int away = Tile / 2; away > 0; away /= 2)
            sum += Warp.ShuffleXor(sum, away);
        h.O[at] = o / sum;
    }

    /// <summary>Copies 32 rows to shared memory, a float a thread at a time.</summary>
    public static void Copy(ArrayView<float> from, int first, ArrayView<float> to, int rowLength)
    {
        for (int i = Group.IdxX; i < Tile * SingleHead.Width; i += Threads)
            to[(i / SingleHead.Width * rowLength) + (i % SingleHead.Width)] = from[(first * SingleHead.Width) + i];
    }

    /// <summary>
    /// q · k of the warp's query, which begins at <paramref name="query"/>, and a key: two loads for four multiply-adds.
    /// </summary>
    public static float Score(ArrayView<float> queries, int query, ArrayView<float> keys, int key)
    {
        float score = 0;
        for (int c = 0; c < SingleHead.Width; c += 4)
        {
            Float4 q = Float4.Wide(queries, query + c)[0], k = Float4.Wide(keys, (key * RowLength) + c)[0];
            score += q.X * k.X;
            score += q.Y * k.Y;
            score += q.Z * k.Z;
            score += q.W * k.W;
        }
        return score;
    }

    /// <summary>A column of 32 values, by the warp's weights, which begin at <paramref name="warp"/>.</summary>
    public static float WeightedSum(ArrayView<float> weights, int warp, ArrayView<float> values, int column)
    {
        float sum = 0;
        for (int key = 0; key < Tile; key += 4)
        {
            var w = Float4.Wide(weights, warp + key)[0];
            sum += w.X * values[(key * SingleHead.Width) + column];
            sum += w.Y * values[((key + 1) * SingleHead.Width) + column];
            sum += w.Z * values[((key + 2) * SingleHead.Width) + column];
            sum += w.W * values[((key + 3) * SingleHead.Width) + column];
        }
        return sum;
    }
}
