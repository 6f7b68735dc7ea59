using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime.Cuda;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// The instruction that 32 threads, a warp, execute together: c += a · b, a [16, 8], b [8, 8], c [16, 8]. Each thread holds four elements of
/// a, two of b and four of c; with group = lane / 4 and member = lane % 4 (NVIDIA, PTX ISA, "Matrix Fragments for mma.m16n8k8"):
/// <code>
/// a0 = a[group, member]      a1 = a[group + 8, member]    a2 = a[group, member + 4]    a3 = a[group + 8, member + 4]
/// b0 = b[member, group]      b1 = b[member + 4, group]
/// c0 = c[group, 2 member]    c1 = c[group, 2 member + 1]  c2 = c[group + 8, 2 member]  c3 = c[group + 8, 2 member + 1]
/// </code>
/// </summary>
internal interface ITensorCore
{
    /// <summary>Floats of shared memory it needs for each thread of the group.</summary>
    static abstract int ExchangedFloats { get; }

    /// <summary>The nearest number of eleven significant bits, away from zero where two are as near.</summary>
    static abstract float Round(float x);

    /// <summary>Executed by all threads of the group at the same time.</summary>
    /// <param name="c0">A sum, as the others.</param>
    /// <param name="a">a0 and a1, rounded as all operands.</param>
    /// <param name="nextA">a2 and a3.</param>
    /// <param name="exchange">The group's memory of <see cref="ExchangedFloats"/> a thread.</param>
    static abstract void MultiplyAdd(
        ref float c0, ref float c1, ref float c2, ref float c3, Float2 a, Float2 nextA, float b0, float b1,
        ArrayView<float> exchange);
}

/// <summary>
/// NVIDIA's, sm_80 and later, in inline assembly. ILGPU hands its operands over in variables of local memory, which NVIDIA's assembler turns
/// into registers again.
/// </summary>
internal readonly struct TensorCore : ITensorCore
{
    public static int ExchangedFloats => 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Round(float x)
    {
        var rounded = default(Output<uint>);
        Input<float> value = x;
        CudaAsm.EmitRef("cvt.rna.tf32.f32 %0, %1;", ref rounded, ref value);
        return Interop.IntAsFloat(rounded.Value);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void MultiplyAdd(
        ref float c0, ref float c1, ref float c2, ref float c3, Float2 a, Float2 nextA, float b0, float b1,
        ArrayView<float> exchange)
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
/// The same for any device: threads put what they hold into shared memory, and each adds up its four elements of c. It proves of
/// <see cref="TensorCoreProduct{TA, TB, TEpilogue}"/> that every thread gives the instruction what the instruction takes from it.
/// </summary>
internal readonly struct EmulatedTensorCore : ITensorCore
{
    private const int Lanes = 32, Rows = 8, Depth = 4;

    public static int ExchangedFloats => 6;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Round(float x) => Interop.IntAsFloat((Interop.FloatAsInt(x) + 0x1000u) & 0xFFFFE000u);

    /// <summary>Not inlined: a product has many of them.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    public static void MultiplyAdd(
        ref float c0, ref float c1, ref float c2, ref float c3, Float2 a, Float2 nextA, float b0, float b1,
        ArrayView<float> exchange)
    {
        int lane = Group.IdxX % Lanes, group = lane / Depth, member = lane % Depth;
        var held = exchange.SubView(Group.IdxX / Lanes * Lanes * 6, Lanes * 6);
        int at = lane * 6;
        held[at] = a.X;
        held[at + 1] = a.Y;
        held[at + 2] = nextA.X;
        held[at + 3] = nextA.Y;
        held[at + 4] = b0;
        held[at + 5] = b1;
        Group.Barrier();
        for (int k = 0; k < 2 * Depth; k++)
        {
            float left = B(held, k, 2 * member), right = B(held, k, (2 * member) + 1);
            float upper = A(held, group, k), lower = A(held, group + Rows, k);
            c0 += upper * left;
            c1 += upper * right;
            c2 += lower * left;
            c3 += lower * right;
        }
        Group.Barrier();
    }

    /// <summary>a[row, k], from the thread that holds it.</summary>
    private static float A(ArrayView<float> held, int row, int k) =>
        held[(((row % Rows * Depth) + (k % Depth)) * 6) + (row / Rows) + (k / Depth * 2)];

    /// <summary>b[k, column], from the thread that holds it.</summary>
    private static float B(ArrayView<float> held, int k, int column) => held[(((column * Depth) + (k % Depth)) * 6) + 4 + (k / Depth)];
}
