using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Item and position lookup, and the sums of their gradients. Many tokens share an item, and atomic additions would come in another order
/// every time: instead the tokens are sorted by item, and once more by position, so that the rows of each stand in a run, and the runs are
/// added up in a tree of fixed shape.
/// </summary>
internal sealed class Embedding
{
    /// <summary>Sorted rows that one thread adds up.</summary>
    private const int Segment = 32;

    private readonly GpuDevice _device;
    private readonly RadixSort _sort;
    private readonly GpuKernel<LookupArguments> _forward;
    private readonly GpuKernel<GatherArguments> _gather;
    private readonly GpuKernel<GatherArguments> _scatter;
    private readonly GpuKernel<RunArguments> _addRuns;

    public Embedding(GpuDevice device)
    {
        _device = device;
        _sort = new(device, new(device));
        _forward = device.Load<LookupArguments>(ForwardKernel, device.GroupSize);
        _gather = device.Load<GatherArguments>(GatherKernel, device.GroupSize);
        _scatter = device.Load<GatherArguments>(ScatterKernel, device.GroupSize);
        _addRuns = device.Load<RunArguments>(AddRunsKernel, device.GroupSize);
    }

    public void Forward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x)
    {
        var lanes = new RowLanes(_device, x.Columns);
        _forward.Launch(
            lanes.Groups(x.Rows),
            new(tokens.View(), positions.View(), items.View(), positionTable.View(), x.View(), x.Rows, x.Columns, lanes.Bits));
    }

    /// <summary>Rows of both tables at once: each token is in two of the runs, that of its item and that of its position.</summary>
    public void Backward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        int size = dx.Columns, count = 2 * dx.Rows;
        if (count == 0)
            return;
        var ids = new JointKeys(tokens.View(), positions.View(), dItems.Rows);
        // Level by level: sorted rows, then the sums at the ends of their segments, then the sums at the ends of the segments of those, …
        int ends = Ends(count), laterEnds = Ends(ends);
        long sortLength = _sort.WorkLength(count), endLength = (long)(ends + laterEnds) * (size + 1);
        var work = _device.Workspace(sortLength + endLength);
        var order = _sort.Sort(ids, dItems.Rows + dPositions.Rows, work.SubView(0, sortLength).Cast<int>());
        var sums = work.SubView(sortLength, (long)ends * size);
        var nextSums = work.SubView(sortLength + sums.Length, (long)laterEnds * size);
        ArrayView<int> endIds = work.SubView(sortLength + sums.Length + nextSums.Length, ends).Cast<int>();
        ArrayView<int> nextIds = work.SubView(sortLength + sums.Length + nextSums.Length + ends, laterEnds).Cast<int>();

        ArrayView<float> x = dx.View(), items = dItems.View(), positionTable = dPositions.View();
        for (; ; count = Ends(count))
        {
            int threads = (count + Segment - 1) / Segment * size;
            _addRuns.Launch(
                (threads + _device.GroupSize - 1) / _device.GroupSize, new(ids, order, x, items, positionTable, endIds, sums, count, size));
            if (count <= Segment)
                return;
            (ids, order, x) = (new(endIds, default, dItems.Rows), default, sums);
            (endIds, nextIds) = (nextIds, endIds);
            (sums, nextSums) = (nextSums, sums);
        }
    }

    public void Gather(Tensor x, Indices rows, Tensor y) => Gather(_gather, x, rows, y);

    public void GatherBackward(Tensor dy, Indices rows, Tensor dx) => Gather(_scatter, dx, rows, dy);

    private void Gather(GpuKernel<GatherArguments> kernel, Tensor x, Indices rows, Tensor y)
    {
        var lanes = new RowLanes(_device, x.Columns);
        kernel.Launch(lanes.Groups(rows.Length), new(x.View(), rows.View(), y.View(), rows.Length, x.Columns, lanes.Bits));
    }

    private static int Ends(int count) => 2 * ((count + Segment - 1) / Segment);

    private static void ForwardKernel(LookupArguments a)
    {
        int lanes = 1 << a.LaneBits, rowsPerGrid = (Group.DimX >> a.LaneBits) * Grid.DimX;
        for (int t = Grid.GlobalIndex.X >> a.LaneBits; t < a.Rows; t += rowsPerGrid)
        {
            long item = (long)a.Tokens[t] * a.Size, position = (long)a.Positions[t] * a.Size, row = (long)t * a.Size;
            for (int column = Group.IdxX & (lanes - 1); column < a.Size; column += lanes)
                a.X[row + column] = a.Items[item + column] + a.PositionTable[position + column];
        }
    }

    private static void GatherKernel(GatherArguments a)
    {
        int lanes = 1 << a.LaneBits, rowsPerGrid = (Group.DimX >> a.LaneBits) * Grid.DimX;
        for (int m = Grid.GlobalIndex.X >> a.LaneBits; m < a.Count; m += rowsPerGrid)
        {
            long from = (long)a.Rows[m] * a.Size, to = (long)m * a.Size;
            for (int column = Group.IdxX & (lanes - 1); column < a.Size; column += lanes)
                a.Y[to + column] = a.X[from + column];
        }
    }

    private static void ScatterKernel(GatherArguments a)
    {
        int lanes = 1 << a.LaneBits, rowsPerGrid = (Group.DimX >> a.LaneBits) * Grid.DimX;
        for (int m = Grid.GlobalIndex.X >> a.LaneBits; m < a.Count; m += rowsPerGrid)
        {
            long to = (long)a.Rows[m] * a.Size, from = (long)m * a.Size;
            for (int column = Group.IdxX & (lanes - 1); column < a.Size; column += lanes)
                a.X[to + column] += a.Y[from + column];
        }
    }

    /// <summary>
    /// A thread adds one column of a segment of sorted rows, run by run. A run inside the segment is whole and goes to the table; the first
    /// and the last may go on in the neighbours, so their sums are left for the next level, where such sums stand in runs again.
    /// </summary>
    private static void AddRunsKernel(RunArguments a)
    {
        int segment = Grid.GlobalIndex.X / a.Size, column = Grid.GlobalIndex.X % a.Size;
        int next = segment * Segment, end = IntrinsicMath.Min(next + Segment, a.Count);
        if (next >= a.Count)
            return;
        bool whole = a.Count <= Segment, isFirst = true;
        int run = a.Ids[a.Row(next)];
        float sum = 0;
        for (; next < end; next++)
        {
            int row = a.Row(next), id = a.Ids[row];
            if (id != run)
            {
                if (isFirst && !whole)
                    a.Leave(2 * segment, run, column, sum);
                else
                    a.Add(run, column, sum);
                isFirst = false;
                run = id;
                sum = 0;
            }
            sum += a.X[((long)a.RowOfX(row) * a.Size) + column];
        }
        if (whole)
        {
            a.Add(run, column, sum);
            return;
        }
        if (isFirst)
        {
            // One run from end to end: its sum, and nothing behind it.
            a.Leave(2 * segment, run, column, sum);
            sum = 0;
        }
        a.Leave((2 * segment) + 1, run, column, sum);
    }

    internal readonly record struct LookupArguments(
        ArrayView<int> Tokens, ArrayView<int> Positions, ArrayView<float> Items, ArrayView<float> PositionTable, ArrayView<float> X,
        int Rows, int Size, int LaneBits);

    /// <summary>Row m of Y belongs to row Rows[m] of X.</summary>
    internal readonly record struct GatherArguments(
        ArrayView<float> X, ArrayView<int> Rows, ArrayView<float> Y, int Count, int Size, int LaneBits);

    /// <param name="Ids">By row; in runs when taken in order.</param>
    /// <param name="Order">The order of the rows; none where they stand in order.</param>
    /// <param name="X">The rows to add; those of the second list of ids are the same as those of the first.</param>
    /// <param name="Items">Where to, for ids below <see cref="JointKeys.SecondStart"/>, but for padding (0).</param>
    /// <param name="Positions">Where to, for the others.</param>
    /// <param name="EndIds">[2 · segments] ids of the first and last run of each segment.</param>
    /// <param name="Ends">[2 · segments, H] sums of these.</param>
    /// <param name="Count">Rows.</param>
    /// <param name="Size">H</param>
    internal readonly record struct RunArguments(
        JointKeys Ids, ArrayView<int> Order, ArrayView<float> X, ArrayView<float> Items, ArrayView<float> Positions,
        ArrayView<int> EndIds, ArrayView<float> Ends, int Count, int Size)
    {
        public int Row(int i) => Order.Length > 0 ? Order[i] : i;

        public int RowOfX(int row) => row < Ids.First.Length ? row : row - (int)Ids.First.Length;

        public void Add(int id, int column, float sum)
        {
            if (id >= Ids.SecondStart)
                Positions[((long)(id - Ids.SecondStart) * Size) + column] += sum;
            else if (id != 0)
                Items[((long)id * Size) + column] += sum;
        }

        public void Leave(int end, int id, int column, float sum)
        {
            // One thread of the row: others would write it at the same time.
            if (column == 0)
                EndIds[end] = id;
            Ends[((long)end * Size) + column] = sum;
        }
    }
}
