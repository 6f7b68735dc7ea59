using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// Step 3: one walk, each score once. The softmax is <see cref="OnlineSoftmax"/>'s: what was added up so far is rescaled when 32 keys bring
/// a larger maximum (Dao et al., "FlashAttention", 2022).
/// </summary>
/// <remarks>From here <see cref="Attention"/> goes on: several queries a thread, any number of columns, dropout, the backward.</remarks>
internal static class FlashAttention
{
    public const int Threads = FusedAttention.Threads, Tile = FusedAttention.Tile;

    public static void Kernel(SingleHead h)
    {
        var queries = SharedMemory.Allocate<float>(Threads);
        var keys = SharedMemory.Allocate<float>(Tile * FusedAttention.RowLength);
        var values = SharedMemory.Allocate<float>(Tile * SingleHead.Width);
        var weights = SharedMemory.Allocate<float>(Threads);
        int lane = Group.IdxX % Tile, warp = Group.IdxX - lane;
        int at = (Grid.IdxX * Threads) + Group.IdxX;
        queries[Group.IdxX] = h.Q[at] * SingleHead.Scale;
        // Less than any score; its difference to itself is 0, which infinity's is not.
        float max = -3e38f, sum = 0, o = 0;
        for (int first = 0; first < h.T; first += Tile)
        {
            FusedAttention.Copy(h.K, first, keys, FusedAttention.RowLength);
            FusedAttention.Copy(h.V, first, values, SingleHead.Width);
            Group.Barrier();
            float score = FusedAttention.Score(queries, warp, keys, lane), largest = default(Max).Combine(max, score);
            for (int away = Tile / 2; away > 0; away /= 2)
                largest = default(Max).Combine(largest, Warp.ShuffleXor(largest, away));
            float rescale = DeviceMath.Exp(max - largest), weight = DeviceMath.Exp(score - largest);
            max = largest;
            sum = (sum * rescale) + weight;
            weights[Group.IdxX] = weight;
            Group.Barrier();
            o = (o * rescale) + FusedAttention.WeightedSum(weights, warp, values, lane);
            Group.Barrier();
        }
        for (int away = Tile / 2; away > 0; away /= 2)
            sum += Warp.ShuffleXor(sum, away);
        h.O[at] = o / sum;
    }
}
