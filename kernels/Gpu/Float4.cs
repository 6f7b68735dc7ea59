using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>Two neighbouring floats.</summary>
[StructLayout(LayoutKind.Sequential, Size = 8)]
internal struct Float2
{
    public float X;
    public float Y;
}

/// <summary>Four neighbouring floats: one 128-bit load or store where they lie at a multiple of four.</summary>
[StructLayout(LayoutKind.Sequential, Size = 16)]
internal struct Float4(float x, float y, float z, float w)
{
    public float X = x;
    public float Y = y;
    public float Z = z;
    public float W = w;

    public Float4(float value)
        : this(value, value, value, value)
    {
    }

    /// <summary>The sum of the four.</summary>
    public readonly float Sum
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => X + Y + (Z + W);
    }

    /// <summary>The first <paramref name="count"/> of the four at <paramref name="first"/>, zeros after them.</summary>
    /// <param name="view">What is read.</param>
    /// <param name="first">Where.</param>
    /// <param name="count">How many may be read; nothing is where it is not positive.</param>
    /// <param name="wide">All four may be read where one may, and they lie at a multiple of four floats.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Load(ArrayView<float> view, long first, int count, bool wide)
    {
        if (wide)
            return count > 0 ? Wide(view, first)[0] : default;
        return new Float4(
            count > 0 ? view[first] : 0f,
            count > 1 ? view[first + 1] : 0f,
            count > 2 ? view[first + 2] : 0f,
            count > 3 ? view[first + 3] : 0f);
    }

    /// <summary>Stores the first <paramref name="count"/> of the four; all of them, where one and <paramref name="wide"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void Store(ArrayView<float> view, long first, int count, bool wide)
    {
        if (wide)
        {
            if (count > 0)
                Wide(view, first)[0] = this;
            return;
        }
        if (count > 0)
            view[first] = X;
        if (count > 1)
            view[first + 1] = Y;
        if (count > 2)
            view[first + 2] = Z;
        if (count > 3)
            view[first + 3] = W;
    }

    /// <summary>One of the four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float At(int index) => index == 0 ? X : index == 1 ? Y : index == 2 ? Z : W;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator +(Float4 a, Float4 b) => new(a.X + b.X, a.Y + b.Y, a.Z + b.Z, a.W + b.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator -(Float4 a, Float4 b) => new(a.X - b.X, a.Y - b.Y, a.Z - b.Z, a.W - b.W);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator *(Float4 a, float b) => new(a.X * b, a.Y * b, a.Z * b, a.W * b);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 operator *(Float4 a, Float4 b) => new(a.X * b.X, a.Y * b.Y, a.Z * b.Z, a.W * b.W);

    /// <summary>The four floats at a place that is a multiple of four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Wide(ArrayView<float> view, long first) => view.SubView(first, 4).Cast<Float4>().AsAligned(16);
}
