using System.Runtime.CompilerServices;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>How an operand lies in memory: whether neighbours along the K dimension lie side by side.</summary>
internal interface ILayout
{
    static abstract bool KIsContiguous { get; }
}

/// <summary>[M, K] or [N, K]: x and weight in x · weightᵀ.</summary>
internal readonly struct KContiguous : ILayout
{
    public static bool KIsContiguous => true;
}

/// <summary>[K, M] or [K, N]: dy and x in dyᵀ · x.</summary>
internal readonly struct KStrided : ILayout
{
    public static bool KIsContiguous => false;
}

/// <summary>Whether operands are read a <see cref="Float4"/> at a time.</summary>
internal interface IAccess
{
    static abstract bool Wide { get; }
}

internal readonly struct WideAccess : IAccess
{
    public static bool Wide => true;
}

internal readonly struct NarrowAccess : IAccess
{
    public static bool Wide => false;
}

/// <summary>An operand of a product: its rows are <see cref="Stride"/> apart.</summary>
internal readonly record struct Operand(ArrayView<float> Values, int Stride)
{
    public Operand(Tensor x)
        : this(x.View(), x.Columns)
    {
    }

    /// <summary>Whether every row starts at a multiple of four floats.</summary>
    public bool IsAligned => GpuDevice.IsAligned(Values) && Stride % 4 == 0;
}

/// <summary>
/// A thread's part in copying an operand's part of a tile to shared memory, where it lies [BK, BM] or [BK, BN] whatever its layout: up to
/// four <see cref="Float4"/> a step. Where the K dimension is contiguous, a float4 is four steps of a row, and goes to four rows of shared
/// memory: neighbouring threads have the float4s of eight steps, then those of the next row of the operand, so that a warp copies sixteen
/// rows, and what it stores together lies in 32 different banks. Where a float of shared memory holds two steps, a float4 goes to two
/// rows, and neighbouring threads have sixteen steps; where the K dimension is not contiguous, a thread's float4s are of pairs of steps.
/// </summary>
internal struct OperandLoader<TLayout, TAccess>
    where TLayout : struct, ILayout
    where TAccess : struct, IAccess
{
    private readonly int _threads;
    private readonly int _side;
    private readonly int _stepsPerFloat;
    private readonly int _step;
    private readonly int _count;
    private readonly int _k;
    private readonly int _left;
    private readonly int _second;
    private readonly int _third;
    private readonly int _fourth;
    private ArrayView<float> _values;

    /// <param name="operand">What is copied.</param>
    /// <param name="first">The tile's first row of a, or column of b.</param>
    /// <param name="extent">M for a, N for b.</param>
    /// <param name="start">Where along the K dimension the first step is.</param>
    /// <param name="k">Length of the K dimension.</param>
    /// <param name="thread">Number of the thread.</param>
    /// <param name="threads">Threads of the group.</param>
    /// <param name="side">BM for a, BN for b.</param>
    /// <param name="bk">BK.</param>
    /// <param name="stepsPerFloat">Of the micro-kernel.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public OperandLoader(
        Operand operand, int first, int extent, int start, int k, int thread, int threads, int side, int bk, int stepsPerFloat)
    {
        _threads = threads;
        _side = side;
        _stepsPerFloat = stepsPerFloat;
        _step = TLayout.KIsContiguous ? bk : bk * operand.Stride;
        _count = side * bk / (4 * threads);
        int neighbours = 2 * stepsPerFloat, row = thread / neighbours;
        _k = TLayout.KIsContiguous
            ? ((thread & (neighbours - 1)) * 4) + (row / side * 4 * neighbours) : thread / (side / 4) * stepsPerFloat;
        int own = TLayout.KIsContiguous ? row & (side - 1) : (thread & ((side / 4) - 1)) * 4;
        Place = (_k / stepsPerFloat * SharedTile.RowLength(side)) + own;
        // Rows and columns outside the operand are those at its edge again: nobody stores what is computed of them.
        int last = extent - 1 - first;
        // A thread that has nothing to read stays within the operand.
        int firstK = IntrinsicMath.Min(start + _k, k - 1);
        if (TLayout.KIsContiguous)
        {
            int begin = IntrinsicMath.Min(own, last);
            _values = operand.Values.SubView(((long)(first + begin) * operand.Stride) + firstK);
            _left = 0;
            _second = ((IntrinsicMath.Min(own + Along(1), last) - begin) * operand.Stride) + Steps(1);
            _third = ((IntrinsicMath.Min(own + Along(2), last) - begin) * operand.Stride) + Steps(2);
            _fourth = ((IntrinsicMath.Min(own + Along(3), last) - begin) * operand.Stride) + Steps(3);
        }
        else
        {
            own = IntrinsicMath.Min(own, last & ~3);
            _values = operand.Values.SubView(((long)firstK * operand.Stride) + first + own);
            _left = last + 1 - own;
            _second = Steps(1) * operand.Stride;
            _third = Steps(2) * operand.Stride;
            _fourth = Steps(3) * operand.Stride;
        }
    }

    /// <summary>Where in the operand's buffer the thread stores.</summary>
    public int Place { get; }

    /// <summary>The operand's part in the first step, where <paramref name="left"/> are left to sum; zeros after those.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Loaded LoadFirst(int left) => Load(left);

    /// <summary>Likewise in the next step.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Loaded LoadNext(int left)
    {
        _values = _values.SubView(left > _k ? _step : 0);
        return Load(left);
    }

    /// <summary>Stores a step's part in the buffer, from the thread's place on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store<TMicroKernel>(ArrayView<byte> bytes, in Loaded values)
        where TMicroKernel : struct, IMicroKernel
    {
        var place = bytes.Cast<float>();
        if (!TLayout.KIsContiguous && _stepsPerFloat == 2)
        {
            Store<TMicroKernel>(place, 0, values.First, values.Second);
            if (_count > 2)
                Store<TMicroKernel>(place, 2, values.Third, values.Fourth);
            return;
        }
        Store<TMicroKernel>(place, 0, values.First, default);
        if (_count > 1)
            Store<TMicroKernel>(place, 1, values.Second, default);
        if (_count > 2)
        {
            Store<TMicroKernel>(place, 2, values.Third, default);
            Store<TMicroKernel>(place, 3, values.Fourth, default);
        }
    }

    /// <summary>Where the K dimension is contiguous, rows of which the group's threads have a float4 each time.</summary>
    private readonly int Rows => _threads / 2 / _stepsPerFloat;

    /// <summary>From a thread's first float4 to its i-th: so many rows of a or columns of b.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly int Along(int i) => TLayout.KIsContiguous ? i * Rows % _side : 0;

    /// <summary>From a thread's first float4 to its i-th: so many steps along the K dimension.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly int Steps(int i) => TLayout.KIsContiguous
        ? i * Rows / _side * 8 * _stepsPerFloat
        : (i / _stepsPerFloat * _stepsPerFloat * 4 * _threads / _side) + (i % _stepsPerFloat);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly Loaded Load(int left)
    {
        var result = default(Loaded);
        result.First = Load(0, left, _k);
        if (_count > 1)
            result.Second = Load(_second, left, _k + Steps(1));
        if (_count > 2)
        {
            result.Third = Load(_third, left, _k + Steps(2));
            result.Fourth = Load(_fourth, left, _k + Steps(3));
        }
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly Float4 Load(int further, int left, int k)
    {
        if (TAccess.Wide)
            return left > k ? Float4.Wide(_values, further)[0] : default;
        return Float4.Load(_values, further, TLayout.KIsContiguous ? left - k : left > k ? _left : 0, wide: false);
    }

    /// <param name="place">The thread's.</param>
    /// <param name="i">Number of the float4.</param>
    /// <param name="value">It.</param>
    /// <param name="next">The float4 of the next step, where a float of shared memory holds both.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Store<TMicroKernel>(ArrayView<float> place, int i, in Float4 value, in Float4 next)
        where TMicroKernel : struct, IMicroKernel
    {
        int rowLength = SharedTile.RowLength(_side), further = Along(i) + (Steps(i) / _stepsPerFloat * rowLength);
        if (!TLayout.KIsContiguous)
        {
            Float4.Wide(place, further)[0] = new(
                TMicroKernel.Convert(value.X, next.X),
                TMicroKernel.Convert(value.Y, next.Y),
                TMicroKernel.Convert(value.Z, next.Z),
                TMicroKernel.Convert(value.W, next.W));
        }
        else if (_stepsPerFloat == 2)
        {
            place[further] = TMicroKernel.Convert(value.X, value.Y);
            place[further + rowLength] = TMicroKernel.Convert(value.Z, value.W);
        }
        else
        {
            place[further] = TMicroKernel.Convert(value.X, 0);
            place[further + rowLength] = TMicroKernel.Convert(value.Y, 0);
            place[further + (2 * rowLength)] = TMicroKernel.Convert(value.Z, 0);
            place[further + (3 * rowLength)] = TMicroKernel.Convert(value.W, 0);
        }
    }

    /// <summary>What a thread copies in a step; a tile uses as many as it has.</summary>
    internal struct Loaded
    {
        public Float4 First;
        public Float4 Second;
        public Float4 Third;
        public Float4 Fourth;

        /// <summary>Zeros for those that are not used.</summary>
        public readonly Float4 Sum
        {
            [MethodImpl(MethodImplOptions.AggressiveInlining)]
            get => First + Second + (Third + Fourth);
        }
    }
}
