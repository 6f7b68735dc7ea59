using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Item and position lookup, and the sums of their gradients. Many tokens share an item, and atomic additions would come in another order
/// every time: instead the tokens are sorted by item, and once more by position, so that the rows of each stand in a segment, and the
/// segments are added up in a tree of fixed shape.
/// </summary>
internal sealed class Embedding
{
    /// <summary>Sorted rows that one thread adds up.</summary>
    private const int Chunk = 32;

    /// <summary>Of them, those that it reads at a time.</summary>
    private const int Ahead = 4;

    private readonly GpuDevice _device;
    private readonly RadixSort _sort;
    private readonly GpuKernel<LookupArguments> _forward;
    private readonly GpuKernel<GatherArguments> _gather;
    private readonly GpuKernel<GatherArguments> _scatter;
    private readonly GpuKernel<SegmentArguments> _addSegments;

    /// <summary>What is sorted ahead, by turns: the arithmetic may still read what was sorted before.</summary>
    private readonly GpuIntegers?[] _ahead = new GpuIntegers?[2];
    private SortedAhead? _sorted;

    public Embedding(GpuDevice device)
    {
        _device = device;
        _sort = new(device, new(device));
        _forward = device.Load<LookupArguments>(ForwardKernel, device.GroupSize);
        _gather = device.Load<GatherArguments>(GatherKernel, device.GroupSize);
        _scatter = device.Load<GatherArguments>(ScatterKernel, device.GroupSize);
        _addSegments = device.Load<SegmentArguments>(AddSegmentsKernel, device.GroupSize);
    }

    public void Forward(Indices tokens, Indices positions, Tensor items, Tensor positionTable, Tensor x)
    {
        _sorted = null;
        var lanes = new RowLanes(_device, x.Columns);
        _forward.Launch(
            lanes.Groups(x.Rows),
            new(tokens.View(), positions.View(), items.View(), positionTable.View(), x.View(), x.Rows, x.Columns, lanes.Bits));
    }

    /// <summary>Sorts on the transfer queue, while the arithmetic comes to the gradient.</summary>
    public void BeginBackward(Indices tokens, Indices positions, Tensor dItems, Tensor dPositions)
    {
        var ids = new JointKeys(tokens.ReadingView(), positions.ReadingView(), dItems.Rows);
        if (ids.Length == 0)
            return;
        long length = _sort.WorkLength(ids.Length);
        if (_ahead[0] is null || _ahead[1] is null || _ahead[0]!.Length < length)
        {
            _device.FinishCompute();
            for (int i = 0; i < _ahead.Length; i++)
            {
                _ahead[i]?.Dispose();
                _ahead[i] = null;
                // Batches differ: somewhat larger ones are to find room.
                _ahead[i] = new(_device, length + (length / 4));
            }
        }
        var work = _ahead[0]!;
        (_ahead[0], _ahead[1]) = (_ahead[1], work);
        var order = _sort.Sort(_device.Transfer, ids, dItems.Rows + dPositions.Rows, work.ForTransfer().SubView(0, length));
        _sorted = new(tokens, positions, order, work);
    }

    /// <summary>Rows of both tables at once: each token is in two of the segments, that of its item and that of its position.</summary>
    public void Backward(Indices tokens, Indices positions, Tensor dx, Tensor dItems, Tensor dPositions)
    {
        int size = dx.Columns, count = 2 * dx.Rows;
        if (count == 0)
            return;
        var ids = new JointKeys(tokens.View(), positions.View(), dItems.Rows);
        // Level by level: sorted rows, then the sums at the ends of their chunks, then the sums at the ends of the chunks of those, …
        int ends = Ends(count), laterEnds = Ends(ends);
        bool isSorted = _sorted is { } ahead && ahead.Tokens == tokens && ahead.Positions == positions;
        long sortLength = isSorted ? 0 : _sort.WorkLength(count), endLength = (long)(ends + laterEnds) * (size + 1);
        var work = _device.Workspace(sortLength + endLength);
        var order = isSorted
            ? TakeSorted()
            : _sort.Sort(_device.Compute, ids, dItems.Rows + dPositions.Rows, work.SubView(0, sortLength).Cast<int>());
        var sums = work.SubView(sortLength, (long)ends * size);
        var nextSums = work.SubView(sortLength + sums.Length, (long)laterEnds * size);
        ArrayView<int> endIds = work.SubView(sortLength + sums.Length + nextSums.Length, ends).Cast<int>();
        ArrayView<int> nextIds = work.SubView(sortLength + sums.Length + nextSums.Length + ends, laterEnds).Cast<int>();

        ArrayView<float> x = dx.View(), items = dItems.View(), positionTable = dPositions.View();
        for (; ; count = Ends(count))
        {
            int threads = (count + Chunk - 1) / Chunk * size;
            _addSegments.Launch(
                (threads + _device.GroupSize - 1) / _device.GroupSize, new(ids, order, x, items, positionTable, endIds, sums, count, size));
            if (count <= Chunk)
                return;
            (ids, order, x) = (new(endIds, default, dItems.Rows), default, sums);
            (endIds, nextIds) = (nextIds, endIds);
            (sums, nextSums) = (nextSums, sums);
        }
    }

    private ArrayView<int> TakeSorted()
    {
        var (_, _, order, work) = _sorted!.Value;
        _sorted = null;
        _device.FinishTransfer();
        work.ForCompute();
        return order;
    }

    public void Gather(Tensor x, Indices rows, Tensor y) => Gather(_gather, x, rows, y);

    public void GatherBackward(Tensor dy, Indices rows, Tensor dx) => Gather(_scatter, dx, rows, dy);

    private void Gather(GpuKernel<GatherArguments> kernel, Tensor x, Indices rows, Tensor y)
    {
        var lanes = new RowLanes(_device, x.Columns);
        kernel.Launch(lanes.Groups(rows.Length), new(x.View(), rows.View(), y.View(), rows.Length, x.Columns, lanes.Bits));
    }

    private static int Ends(int count) => 2 * ((count + Chunk - 1) / Chunk);

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
    /// A thread adds one column of a chunk of sorted rows, segment by segment. A segment inside the chunk is whole and goes to the table;
    /// the first and the last may go on in the neighbours, so their sums are left for the next level, where such sums stand in segments
    /// again.
    /// </summary>
    private static void AddSegmentsKernel(SegmentArguments a)
    {
        int chunk = Grid.GlobalIndex.X / a.Size, column = Grid.GlobalIndex.X % a.Size;
        int next = chunk * Chunk, end = IntrinsicMath.Min(next + Chunk, a.Count);
        if (next >= a.Count)
            return;
        var segment = new Segment(a, next, column);
        for (; next < end; next += Ahead)
        {
            // What is read depends on what was read before: four rows at a time wait together.
            int last = end - 1, row0 = a.Row(next), row1 = a.Row(IntrinsicMath.Min(next + 1, last));
            int row2 = a.Row(IntrinsicMath.Min(next + 2, last)), row3 = a.Row(IntrinsicMath.Min(next + 3, last));
            int id0 = a.Ids[row0], id1 = a.Ids[row1], id2 = a.Ids[row2], id3 = a.Ids[row3];
            float x0 = a.At(row0, column), x1 = a.At(row1, column), x2 = a.At(row2, column), x3 = a.At(row3, column);
            segment.Add(a, id0, x0);
            if (next + 1 < end)
                segment.Add(a, id1, x1);
            if (next + 2 < end)
                segment.Add(a, id2, x2);
            if (next + 3 < end)
                segment.Add(a, id3, x3);
        }
        segment.End(a);
    }

    /// <param name="Tokens">Whose rows are sorted.</param>
    /// <param name="Positions">Likewise.</param>
    /// <param name="Order">The rows in order.</param>
    /// <param name="Memory">Where that lies.</param>
    private readonly record struct SortedAhead(Indices Tokens, Indices Positions, ArrayView<int> Order, GpuIntegers Memory);

    /// <summary>The segment of rows with the same id that a thread is in.</summary>
    private struct Segment
    {
        private readonly int _chunk;
        private readonly int _column;
        private int _id;
        private float _sum;
        private bool _isFirst;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public Segment(in SegmentArguments a, int first, int column)
        {
            _chunk = first / Chunk;
            _column = column;
            _id = a.Ids[a.Row(first)];
            _sum = 0f;
            _isFirst = true;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add(in SegmentArguments a, int id, float x)
        {
            if (id != _id)
            {
                if (_isFirst && !a.IsWhole)
                    a.Leave(2 * _chunk, _id, _column, _sum);
                else
                    a.Add(_id, _column, _sum);
                _isFirst = false;
                _id = id;
                _sum = 0f;
            }
            _sum += x;
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void End(in SegmentArguments a)
        {
            if (a.IsWhole)
            {
                a.Add(_id, _column, _sum);
                return;
            }
            if (_isFirst)
            {
                // One segment from end to end: its sum, and nothing behind it.
                a.Leave(2 * _chunk, _id, _column, _sum);
                _sum = 0f;
            }
            a.Leave((2 * _chunk) + 1, _id, _column, _sum);
        }
    }

    internal readonly record struct LookupArguments(
        ArrayView<int> Tokens, ArrayView<int> Positions, ArrayView<float> Items, ArrayView<float> PositionTable, ArrayView<float> X,
        int Rows, int Size, int LaneBits);

    /// <summary>Row m of Y belongs to row Rows[m] of X.</summary>
    internal readonly record struct GatherArguments(
        ArrayView<float> X, ArrayView<int> Rows, ArrayView<float> Y, int Count, int Size, int LaneBits);

    /// <param name="Ids">By row; in segments when taken in order.</param>
    /// <param name="Order">The order of the rows; none where they stand in order.</param>
    /// <param name="X">The rows to add; those of the second list of ids are the same as those of the first.</param>
    /// <param name="Items">Where to, for ids below <see cref="JointKeys.SecondStart"/>, but for padding (0).</param>
    /// <param name="Positions">Where to, for the others.</param>
    /// <param name="EndIds">[2 · chunks] ids of the first and last segment of each chunk.</param>
    /// <param name="Ends">[2 · chunks, H] sums of these.</param>
    /// <param name="Count">Rows.</param>
    /// <param name="Size">H</param>
    internal readonly record struct SegmentArguments(
        JointKeys Ids, ArrayView<int> Order, ArrayView<float> X, ArrayView<float> Items, ArrayView<float> Positions,
        ArrayView<int> EndIds, ArrayView<float> Ends, int Count, int Size)
    {
        /// <summary>Whether this is the last level.</summary>
        public bool IsWhole => Count <= Chunk;

        public int Row(int i) => Order.Length > 0 ? Order[i] : i;

        public float At(int row, int column) =>
            X[((long)(row < Ids.First.Length ? row : row - (int)Ids.First.Length) * Size) + column];

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
