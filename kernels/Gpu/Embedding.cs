using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Item and position lookup, and the sums of their gradients. Many tokens share an item, and atomic additions would come in another order
/// every time: instead the tokens are sorted by item, so that each item's rows stand in a run, and the runs are added up in a tree of fixed
/// shape.
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

    public void Backward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        AddByIndex(tokens.View(), 0, dx, dItems);
        AddByIndex(positions.View(), -1, dx, dPositions);
    }

    public void Gather(Tensor x, Indices rows, Tensor y) => Gather(_gather, x, rows, y);

    public void GatherBackward(Tensor dy, Indices rows, Tensor dx) => Gather(_scatter, dx, rows, dy);

    private void Gather(GpuKernel<GatherArguments> kernel, Tensor x, Indices rows, Tensor y)
    {
        var lanes = new RowLanes(_device, x.Columns);
        kernel.Launch(lanes.Groups(rows.Length), new(x.View(), rows.View(), y.View(), rows.Length, x.Columns, lanes.Bits));
    }

    /// <summary>table[ids[t]] += x[t], but for one id.</summary>
    private void AddByIndex(ArrayView<int> ids, int ignored, Tensor dx, Tensor dTable)
    {
        int rows = dx.Rows, size = dx.Columns;
        if (rows == 0)
            return;
        ArrayView<float> x = dx.View(), table = dTable.View();
        // Level by level: sorted rows, then the sums at the ends of their segments, then the sums at the ends of the segments of those, …
        int ends = Ends(rows), laterEnds = Ends(ends);
        long sortLength = _sort.WorkLength(rows), endLength = (long)(ends + laterEnds) * (size + 1);
        var work = _device.Workspace(sortLength + endLength);
        var order = _sort.Sort(ids, dTable.Rows, work.SubView(0, sortLength).Cast<int>());
        var sums = work.SubView(sortLength, (long)ends * size);
        var nextSums = work.SubView(sortLength + sums.Length, (long)laterEnds * size);
        ArrayView<int> endIds = work.SubView(sortLength + sums.Length + nextSums.Length, ends).Cast<int>();
        ArrayView<int> nextIds = work.SubView(sortLength + sums.Length + nextSums.Length + ends, laterEnds).Cast<int>();

        for (int count = rows; ; count = Ends(count))
        {
            int threads = (count + Segment - 1) / Segment * size;
            _addRuns.Launch(
                (threads + _device.GroupSize - 1) / _device.GroupSize, new(ids, order, x, table, endIds, sums, count, size, ignored));
            if (count <= Segment)
                return;
            (ids, order, x) = (endIds, default, sums);
            (endIds, nextIds) = (nextIds, endIds);
            (sums, nextSums) = (nextSums, sums);
        }
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
            sum += a.X[((long)row * a.Size) + column];
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

    /// <param name="Ids">By row of X; in runs when taken in order.</param>
    /// <param name="Order">The order of the rows; none where they stand in order.</param>
    /// <param name="X">The rows to add.</param>
    /// <param name="Table">Where to.</param>
    /// <param name="EndIds">[2 · segments] ids of the first and last run of each segment.</param>
    /// <param name="Ends">[2 · segments, H] sums of these.</param>
    /// <param name="Count">Rows.</param>
    /// <param name="Size">H</param>
    /// <param name="Ignored">Id whose rows are not added.</param>
    internal readonly record struct RunArguments(
        ArrayView<int> Ids, ArrayView<int> Order, ArrayView<float> X, ArrayView<float> Table, ArrayView<int> EndIds, ArrayView<float> Ends,
        int Count, int Size, int Ignored)
    {
        public int Row(int i) => Order.Length > 0 ? Order[i] : i;

        public void Add(int id, int column, float sum)
        {
            if (id != Ignored)
                Table[((long)id * Size) + column] += sum;
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
