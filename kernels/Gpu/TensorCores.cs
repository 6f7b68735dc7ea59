using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;
using ILGPU.Runtime.Cuda;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// The instruction that 32 threads, a warp, execute together: c += a · b, in TF32 a [16, 8], b [8, 8], c [16, 8]. Each thread (lane)
/// holds four elements of a, two of b and four of c, its fragments (NVIDIA, PTX ISA, "Matrix Fragments for mma.m16n8k8"). Lane 5 has
/// those marked:
/// <code>
///                                      b   n  0   1   2 …  7
///                                        k 0  0   4   8   28  \
///                                          1  1  [5]  9   29   b0
///                                          2  2   6  10   30
///                                          3  3   7  11   31  /
///                                          4  0   4   8   28  \
///                                          5  1  [5]  9   29   b1
///                                          6  2   6  10   30
///                                          7  3   7  11   31  /
///  a   k 0   1   2   3     4   5   6   7   c   n 0   1     2   3     4   5     6   7
///  m 0   0   1   2   3     0   1   2   3         0   0     1   1     2   2     3   3
///    1   4  [5]  6   7     4  [5]  6   7         4   4    [5] [5]    6   6     7   7
///    …    a0             a2                    …  c0  c1, in each pair
///    7  28  29  30  31    28  29  30  31        28  28    29  29    30  30    31  31
///    8   0   1   2   3     0   1   2   3         0   0     1   1     2   2     3   3
///    9   4  [5]  6   7     4  [5]  6   7         4   4    [5] [5]    6   6     7   7
///    …    a1             a3                    …  c2  c3, in each pair
///   15  28  29  30  31    28  29  30  31        28  28    29  29    30  30    31  31
/// </code>
/// With group = lane / 4 and member = lane % 4: a0 = a[group, member], a1 eight rows below, a2 and a3 four steps on; b0 = b[member, group],
/// b1 four steps on; c0 and c1 = c[group, 2 member] and its neighbour, c2 and c3 eight rows below. In bfloat16, k counts pairs of steps
/// ("Matrix Fragments for mma.m16n8k16"): a [16, 16], b [16, 8], and an element is two, of an even step and the next.
/// </summary>
internal interface ITensorCore
{
    /// <summary>Steps along the K dimension whose operands 32 bits hold.</summary>
    static abstract int StepsPerFloat { get; }

    /// <summary>An operand as the instruction takes it, with that of the next step where 32 bits hold two.</summary>
    static abstract float Convert(float x, float next);

    /// <summary>Executed by all threads of the warp at the same time.</summary>
    /// <param name="c0">A result, as the others.</param>
    /// <param name="a">a0 and a1, converted as all operands.</param>
    /// <param name="nextA">a2 and a3.</param>
    static abstract void MultiplyAdd(
        ref float c0, ref float c1, ref float c2, ref float c3, Float2 a, Float2 nextA, float b0, float b1);
}

/// <summary>
/// Products on tensor cores: a warp multiplies its 64 × 32 results together, four instructions down and four across. Which rows, columns
/// and steps of the K dimension an instruction calls the first, the second and so on is for us to say, as long as a, b and c agree. They
/// are named so that what a thread gives lies side by side in shared memory, and what it gets are neighbouring columns of c:
/// <code>
///                         instruction's name       is, in the warp's 64 × 32
///  rows of 16             group, group + 8         2 group, 2 group + 1
///  column of 8            n                        4 n + j, in the j-th instruction across
///  steps or pairs of 8    member, member + 4       2 member, 2 member + 1
///
///  column      0       4       8      12      16      20      24      28
///          +-------+-------+-------+-------+-------+-------+-------+-------+
///  rows  0, 1 | 0 L | 0 R   | 1 L   | 1 R   | 2 L   | 2 R   | 3 L   | 3 R   |    lane, and Left or Right of its rows 0 and 1
///        2, 3 | 4 L | 4 R   | 5 L   | 5 R   | 6 L   | 6 R   | 7 L   | 7 R   |
///         …
///       14,15 |28 L |28 R   |29 L   |29 R   |30 L   |30 R   |31 L   |31 R   |
///       16,17 | 0 L | 0 R   | 1 L   | …                                           its rows 2 and 3; from 32 on 4 and 5, from 48 on 6, 7
/// </code>
/// Where threads have 4 × 4 results, a warp has 32 × 16, two instructions down and two across: column n of the j-th is 2 n + j, and the
/// four neighbours that a thread gets of each row are its Left.
/// </summary>
internal readonly struct TensorCoreProducts<TCore> : IMicroKernel
    where TCore : struct, ITensorCore
{
    private const int WarpSize = 32;

    /// <summary>Rows of c of an instruction; rows of shared memory, of steps or of pairs of them.</summary>
    private const int InstructionRows = 16, SharedRows = 8;

    /// <summary>Of two instructions, or of one where the threads of a large tile load as much for it.</summary>
    public static int BK<TTile>()
        where TTile : struct, ITile => TCore.StepsPerFloat == 1 || TTile.TM > 4 ? 16 : 32;

    public static int StepsPerFloat => TCore.StepsPerFloat;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Convert(float x, float next) => TCore.Convert(x, next);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ThreadPlace Locate<TTile>(int thread)
        where TTile : struct, ITile
    {
        int warp = thread / WarpSize, group = thread % WarpSize / 4, member = thread % 4;
        int warpRows = 8 * TTile.TM, warpColumns = 4 * TTile.TN, warpsAcross = TTile.BN / warpColumns;
        int row = (warp / warpsAcross * warpRows) + (2 * group), column = warp % warpsAcross * warpColumns;
        return new(
            (2 * member * SharedTile.RowLength(TTile.BM)) + row,
            (2 * member * SharedTile.RowLength(TTile.BN)) + column + (TTile.TN / 2 * group),
            row,
            column + (TTile.TN * member));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int RowOffset(int i) => (i / 2 * InstructionRows) + (i % 2);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int ColumnsToRight<TTile>()
        where TTile : struct, ITile => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MultiplyAdd<TTile>(ref ThreadTile c, ArrayView<byte> a, ArrayView<byte> b)
        where TTile : struct, ITile
    {
        AddEightRows<TTile>(ref c, a.Cast<float>(), b.Cast<float>(), 0);
        if (BK<TTile>() > SharedRows * StepsPerFloat)
            AddEightRows<TTile>(ref c, a.Cast<float>(), b.Cast<float>(), SharedRows);
    }

    /// <summary>
    /// The instructions of eight rows of shared memory, of which the thread gives the rows 2·member and 2·member + 1.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddEightRows<TTile>(ref ThreadTile c, ArrayView<float> a, ArrayView<float> b, int first)
        where TTile : struct, ITile
    {
        const int Next = InstructionRows / 2;
        int rowLengthA = SharedTile.RowLength(TTile.BM), rowLengthB = SharedTile.RowLength(TTile.BN);
        ArrayView<Float2> rows = a.SubView(first * rowLengthA).Cast<Float2>().AsAligned(8), nextRows = rows.SubView(rowLengthA / 2);
        var steps = b.SubView(first * rowLengthB);
        if (TTile.TN == 4)
        {
            ArrayView<Float2> pairs = steps.Cast<Float2>().AsAligned(8);
            Float2 pair = pairs[0], nextPair = pairs[rowLengthB / 2];
            MultiplyAdd(ref c.Row0, ref c.Row1, rows[0], nextRows[0], pair, nextPair);
            MultiplyAdd(ref c.Row2, ref c.Row3, rows[Next], nextRows[Next], pair, nextPair);
            return;
        }
        ArrayView<Float4> fours = steps.Cast<Float4>().AsAligned(16);
        Float4 columns = fours[0], next = fours[rowLengthB / 4];
        MultiplyAdd(ref c.Row0, ref c.Row1, rows[0], nextRows[0], columns, next);
        MultiplyAdd(ref c.Row2, ref c.Row3, rows[Next], nextRows[Next], columns, next);
        MultiplyAdd(ref c.Row4, ref c.Row5, rows[2 * Next], nextRows[2 * Next], columns, next);
        MultiplyAdd(ref c.Row6, ref c.Row7, rows[3 * Next], nextRows[3 * Next], columns, next);
    }

    /// <summary>Two instructions side by side, of each of which the thread has two columns of <see cref="ThreadTile.Row.Left"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyAdd(
        ref ThreadTile.Row upper, ref ThreadTile.Row lower, Float2 a, Float2 nextA, Float2 b, Float2 nextB)
    {
        TCore.MultiplyAdd(ref upper.Left.X, ref upper.Left.Z, ref lower.Left.X, ref lower.Left.Z, a, nextA, b.X, nextB.X);
        TCore.MultiplyAdd(ref upper.Left.Y, ref upper.Left.W, ref lower.Left.Y, ref lower.Left.W, a, nextA, b.Y, nextB.Y);
    }

    /// <summary>
    /// Four instructions side by side: of each, the thread has a column of <see cref="ThreadTile.Row.Left"/> and one of Right.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void MultiplyAdd(
        ref ThreadTile.Row upper, ref ThreadTile.Row lower, Float2 a, Float2 nextA, Float4 b, Float4 nextB)
    {
        TCore.MultiplyAdd(ref upper.Left.X, ref upper.Right.X, ref lower.Left.X, ref lower.Right.X, a, nextA, b.X, nextB.X);
        TCore.MultiplyAdd(ref upper.Left.Y, ref upper.Right.Y, ref lower.Left.Y, ref lower.Right.Y, a, nextA, b.Y, nextB.Y);
        TCore.MultiplyAdd(ref upper.Left.Z, ref upper.Right.Z, ref lower.Left.Z, ref lower.Right.Z, a, nextA, b.Z, nextB.Z);
        TCore.MultiplyAdd(ref upper.Left.W, ref upper.Right.W, ref lower.Left.W, ref lower.Right.W, a, nextA, b.W, nextB.W);
    }
}

/// <summary>
/// NVIDIA's, sm_80 and later, in inline assembly: operands are rounded to the nearest number of eleven significant bits, away from zero
/// where two are as near. ILGPU hands them over in variables of local memory, which NVIDIA's assembler turns into registers again.
/// </summary>
internal readonly struct Tf32Core : ITensorCore
{
    public static int StepsPerFloat => 1;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Convert(float x, float next)
    {
        var rounded = default(Output<uint>);
        Input<float> value = x;
        CudaAsm.EmitRef("cvt.rna.tf32.f32 %0, %1;", ref rounded, ref value);
        return Interop.IntAsFloat(rounded.Value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MultiplyAdd(
        ref float c0, ref float c1, ref float c2, ref float c3, Float2 a, Float2 nextA, float b0, float b1)
    {
        Ref<float> s0 = c0, s1 = c1, s2 = c2, s3 = c3;
        // The instruction takes its operands as bits.
        Input<uint> x0 = Interop.FloatAsInt(a.X), x1 = Interop.FloatAsInt(a.Y);
        Input<uint> x2 = Interop.FloatAsInt(nextA.X), x3 = Interop.FloatAsInt(nextA.Y);
        Input<uint> y0 = Interop.FloatAsInt(b0), y1 = Interop.FloatAsInt(b1);
        CudaAsm.EmitRef(
            "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};",
            ref s0, ref s1, ref s2, ref s3, ref x0, ref x1, ref x2, ref x3, ref y0, ref y1);
        c0 = s0.Value;
        c1 = s1.Value;
        c2 = s2.Value;
        c3 = s3.Value;
    }
}

/// <summary>
/// The same in bfloat16, float32's upper half: operands are rounded to the nearest number of eight significant bits, to the even one where
/// two are as near. Half the shared memory and half the instructions of TF32.
/// </summary>
internal readonly struct Bf16Core : ITensorCore
{
    public static int StepsPerFloat => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Convert(float x, float next)
    {
        var pair = default(Output<uint>);
        Input<float> lower = x, upper = next;
        CudaAsm.EmitRef("cvt.rn.bf16x2.f32 %0, %1, %2;", ref pair, ref upper, ref lower);
        return Interop.IntAsFloat(pair.Value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MultiplyAdd(
        ref float c0, ref float c1, ref float c2, ref float c3, Float2 a, Float2 nextA, float b0, float b1)
    {
        // As for TF32, but for the instruction, which ILGPU takes as a literal only.
        Ref<float> s0 = c0, s1 = c1, s2 = c2, s3 = c3;
        Input<uint> x0 = Interop.FloatAsInt(a.X), x1 = Interop.FloatAsInt(a.Y);
        Input<uint> x2 = Interop.FloatAsInt(nextA.X), x3 = Interop.FloatAsInt(nextA.Y);
        Input<uint> y0 = Interop.FloatAsInt(b0), y1 = Interop.FloatAsInt(b1);
        CudaAsm.EmitRef(
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};",
            ref s0, ref s1, ref s2, ref s3, ref x0, ref x1, ref x2, ref x3, ref y0, ref y1);
        c0 = s0.Value;
        c1 = s1.Value;
        c2 = s2.Value;
        c3 = s3.Value;
    }
}
