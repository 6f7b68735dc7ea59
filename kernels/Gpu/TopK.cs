using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Scores and the k best of each row. The scores of as many rows as fit the work memory come from one product; then a group a row streams
/// through the catalogue. Only an item that beats the k-th best so far is looked at again: after a few rounds there is hardly one a round,
/// and those few are merged into the sorted list by counting how many stand before each.
/// </summary>
internal sealed class TopK
{
    /// <summary>Floats of the scores that are kept at a time (64 MB), unless that is fewer rows than <see cref="FewestRows"/>.</summary>
    private const int ScoresRoom = 1 << 24;

    /// <summary>A product of fewer rows would hardly use the item table that it reads.</summary>
    private const int FewestRows = 32;

    /// <summary>Items of a thread in a round.</summary>
    private const int PerThread = 4;

    /// <summary>Most that a round can find.</summary>
    private const int FoundRoom = PerThread * GpuDevice.LargestGroup;

    private readonly GpuDevice _device;
    private readonly Linear _linear;
    private readonly GpuKernel<RankArguments> _rank;
    private readonly GpuKernel<ScoreArguments> _score;

    public TopK(GpuDevice device, Linear linear)
    {
        _device = device;
        _linear = linear;
        _rank = device.Load<RankArguments>(RankKernel, device.GroupSize);
        _score = device.Load<ScoreArguments>(ScoreKernel, device.GroupSize);
    }

    public void Rank(
        Tensor h,
        WeightAndBias catalogue,
        Indices targets,
        Tensor targetBoosts,
        Exclusions exclusions,
        Indices topItems,
        Tensor topScores,
        Indices targetRanks)
    {
        // Whole rows, not tiles of the catalogue: a target's score is one of those that it is compared with, and ties with itself to the
        // bit.
        int items = catalogue.Weight.Rows, rowsAtOnce = Math.Min(h.Rows, Math.Max(FewestRows, ScoresRoom / items));
        var scores = _device.Workspace((long)rowsAtOnce * items);
        for (int first = 0; first < h.Rows; first += rowsAtOnce)
        {
            int count = Math.Min(rowsAtOnce, h.Rows - first);
            _linear.Forward(h.SliceRows(first, count), catalogue, scores.SubView(0, (long)count * items));
            _rank.Launch(
                count,
                new(
                    scores, targets.View(), targetBoosts.View(), exclusions.Offsets.View(), exclusions.Items.View(), topItems.View(),
                    topScores.View(), targetRanks.View(), first, items, topScores.Columns));
        }
    }

    public void Score(Tensor h, WeightAndBias catalogue, Indices candidates, Tensor scores)
    {
        if (scores.Length == 0)
            return;
        _score.Launch(
            _device.GroupsFor(scores.Length),
            new(
                h.View(), catalogue.Weight.View(), catalogue.Bias.View(), candidates.View(), scores.View(), scores.Columns, h.Columns));
    }

    private static void RankKernel(RankArguments a)
    {
        var found = new Found(
            SharedMemory.Allocate<float>(FoundRoom), SharedMemory.Allocate<int>(FoundRoom), SharedMemory.Allocate<int>(FoundRoom));
        // How many were found in even rounds and in odd ones: a round's count is still read when the next begins.
        var counts = SharedMemory.Allocate<int>(2);
        var ranks = SharedMemory.Allocate<int>(3);
        long row = a.FirstRow + Grid.IdxX;
        var scores = a.Scores.SubView((long)Grid.IdxX * a.Catalogue, a.Catalogue);
        var list = new List(a.TopItems.SubView(row * a.K, a.K), a.TopScores.SubView(row * a.K, a.K));
        for (int i = Group.IdxX; i < a.K; i += Group.DimX)
        {
            list.Items[i] = 0;
            list.Scores[i] = float.NegativeInfinity;
        }
        if (Group.IdxX == 0)
        {
            counts[0] = 0;
            counts[1] = 0;
            ranks[0] = 0;
            ranks[1] = 0;
            ranks[2] = 0;
        }
        bool hasTarget = a.Targets.Length > 0;
        int target = hasTarget ? a.Targets[row] : 0;
        float targetScore = scores[target] + (a.TargetBoosts.Length > 0 ? a.TargetBoosts[row] : 0), least = float.NegativeInfinity;
        int higher = 0, equal = 0, equalBefore = 0, round = 0;
        Group.Barrier();
        if (a.ExcludedOffsets.Length > 0)
        {
            // The lowest score is in no list and counts as neither higher nor equal.
            for (int i = a.ExcludedOffsets[row] + Group.IdxX; i < a.ExcludedOffsets[row + 1]; i += Group.DimX)
                scores[a.ExcludedItems[i]] = float.NegativeInfinity;
            Group.Barrier();
        }

        // Padding, item 0, is neither listed nor counted. The first round finds all of its items, and compares each with each: it is short.
        int perThread = 1;
        for (int first = 1; first < a.Catalogue;)
        {
            for (int i = 0; i < perThread; i++)
            {
                int item = first + (i * Group.DimX) + Group.IdxX;
                if (item >= a.Catalogue)
                    break;
                float score = scores[item];
                higher += score > targetScore && item != target ? 1 : 0;
                if (score == targetScore && item != target)
                {
                    equal++;
                    equalBefore += item < target ? 1 : 0;
                }
                if (score > least)
                    found.Put(Atomic.Add(ref counts[round], 1), score, item);
            }
            first += perThread * Group.DimX;
            perThread = PerThread;
            Group.Barrier();
            int count = counts[round];
            if (count > 0)
            {
                Merge(found, count, list, a.K);
                if (Group.IdxX == 0)
                    counts[round] = 0;
                Group.Barrier();
                least = list.Scores[a.K - 1];
            }
            round = 1 - round;
        }
        if (!hasTarget)
            return;
        Atomic.Add(ref ranks[0], higher);
        Atomic.Add(ref ranks[1], equal);
        Atomic.Add(ref ranks[2], equalBefore);
        Group.Barrier();
        for (int i = Group.IdxX; i < 3; i += Group.DimX)
            a.TargetRanks[(3 * row) + i] = ranks[i];
    }

    /// <summary>
    /// Puts what was found, in whatever order, into the list. All threads of the group take part, and must meet before it is read.
    /// </summary>
    private static void Merge(Found found, int count, List list, int k)
    {
        for (int i = Group.IdxX; i < count; i += Group.DimX)
            found.Places[i] = list.Before(found.Scores[i], k) + found.Before(found.Scores[i], found.Items[i], count);

        // The list moves towards its end, so its last chunk goes first; the barrier lets everyone read before anyone writes.
        for (int start = (k - 1) / Group.DimX * Group.DimX; start >= 0; start -= Group.DimX)
        {
            int from = start + Group.IdxX, to = k, item = 0;
            float score = 0;
            if (from < k)
            {
                item = list.Items[from];
                score = list.Scores[from];
                to = from + found.Higher(score, count);
            }
            Group.Barrier();
            if (to < k)
                list.Put(to, score, item);
        }
        for (int i = Group.IdxX; i < count; i += Group.DimX)
        {
            if (found.Places[i] < k)
                list.Put(found.Places[i], found.Scores[i], found.Items[i]);
        }
    }

    private static void ScoreKernel(ScoreArguments a)
    {
        for (long i = Grid.GlobalLinearIndex; i < a.Scores.Length; i += (long)Grid.DimX * Group.DimX)
        {
            long item = a.Candidates[i], row = i / a.PerRow;
            float sum = 0;
            for (int j = 0; j < a.Size; j++)
                sum += a.H[(row * a.Size) + j] * a.Items[(item * a.Size) + j];
            a.Scores[i] = sum + a.Bias[item];
        }
    }

    /// <summary>What a round found: scores, items, and the places in the list that they are to take.</summary>
    private readonly struct Found(ArrayView<float> scores, ArrayView<int> items, ArrayView<int> places)
    {
        public readonly ArrayView<float> Scores = scores;
        public readonly ArrayView<int> Items = items;
        public readonly ArrayView<int> Places = places;

        public void Put(int i, float score, int item)
        {
            Scores[i] = score;
            Items[i] = item;
        }

        /// <summary>How many of these rank before an item.</summary>
        public int Before(float score, int item, int count)
        {
            int before = 0;
            for (int i = 0; i < count; i++)
                before += Scores[i] > score || (Scores[i] == score && Items[i] < item) ? 1 : 0;
            return before;
        }

        /// <summary>How many of these rank before one of the list, which has the lower id where scores are equal.</summary>
        public int Higher(float score, int count)
        {
            int higher = 0;
            for (int i = 0; i < count; i++)
                higher += Scores[i] > score ? 1 : 0;
            return higher;
        }
    }

    /// <summary>The best so far, best first.</summary>
    private readonly struct List(ArrayView<int> items, ArrayView<float> scores)
    {
        public readonly ArrayView<int> Items = items;
        public readonly ArrayView<float> Scores = scores;

        public void Put(int i, float score, int item)
        {
            Scores[i] = score;
            Items[i] = item;
        }

        /// <summary>How many of these rank before an item that is found later, and so has the higher id: a binary search.</summary>
        public int Before(float score, int k)
        {
            int low = 0, high = k;
            while (low < high)
            {
                int middle = (low + high) / 2;
                if (Scores[middle] >= score)
                    low = middle + 1;
                else
                    high = middle;
            }
            return low;
        }
    }

    internal readonly record struct RankArguments(
        ArrayView<float> Scores, ArrayView<int> Targets, ArrayView<float> TargetBoosts, ArrayView<int> ExcludedOffsets,
        ArrayView<int> ExcludedItems, ArrayView<int> TopItems, ArrayView<float> TopScores, ArrayView<int> TargetRanks, int FirstRow,
        int Catalogue, int K);

    internal readonly record struct ScoreArguments(
        ArrayView<float> H, ArrayView<float> Items, ArrayView<float> Bias, ArrayView<int> Candidates, ArrayView<float> Scores, int PerRow,
        int Size);
}
