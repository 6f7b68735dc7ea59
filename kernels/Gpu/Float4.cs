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

    /// <summary>The float4 at a place that is a multiple of four.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Wide(ArrayView<float> view, long first) => view.SubView(first, 4).Cast<Float4>().AsAligned(16);

    /// <summary>A view that begins at a multiple of four, as float4s.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ArrayView<Float4> Wide(ArrayView<float> view) => view.Cast<Float4>().AsAligned(16);
}

/// <summary>
/// A <see cref="Float4"/> of columns that take their random numbers from one block of <see cref="Philox"/>: the i-th of a row is the
/// columns c, c + 16, c + 32 and c + 48 with c = <see cref="FirstColumn"/>(i), so that sixteen neighbouring threads touch neighbouring
/// floats. The block has four columns more, which are another thread's.
/// </summary>
internal static class PhiloxFloat4
{
    private const int Stride = 16;

    /// <summary>How many of them cover a row of <paramref name="columns"/> columns.</summary>
    public static int Count(int columns) => (columns + (4 * Stride) - 1) / (4 * Stride) * Stride;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int FirstColumn(int i) => (i / Stride * 4 * Stride) + (i % Stride);

    /// <summary>
    /// The one whose first column is <paramref name="column"/>, of the row that begins at <paramref name="row"/>; 0 past its end.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Load(ArrayView<float> x, long row, int column, int columns) => new(
        column < columns ? x[row + column] : 0f,
        column + Stride < columns ? x[row + column + Stride] : 0f,
        column + (2 * Stride) < columns ? x[row + column + (2 * Stride)] : 0f,
        column + (3 * Stride) < columns ? x[row + column + (3 * Stride)] : 0f);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(this Float4 values, ArrayView<float> x, long row, int column, int columns)
    {
        if (column < columns)
            x[row + column] = values.X;
        if (column + Stride < columns)
            x[row + column + Stride] = values.Y;
        if (column + (2 * Stride) < columns)
            x[row + column + (2 * Stride)] = values.Z;
        if (column + (3 * Stride) < columns)
            x[row + column + (3 * Stride)] = values.W;
    }

    /// <summary>The values less <paramref name="mean"/>, and 0 past the row's end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Centre(this Float4 values, float mean, int column, int columns) => new(
        column < columns ? values.X - mean : 0f,
        column + Stride < columns ? values.Y - mean : 0f,
        column + (2 * Stride) < columns ? values.Z - mean : 0f,
        column + (3 * Stride) < columns ? values.W - mean : 0f);

    /// <summary>The i-th of a row, times the factors of a dropout mask.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Drop(this Float4 values, DropoutKey key, int i, int row)
    {
        var words = DevicePhilox.Draw(key, (uint)((i / Stride * Words.Halves) + (i % Words.Halves)), (uint)row);
        bool isFirst = i % Stride < Words.Halves;
        uint a = isFirst ? words.X : words.Y, b = isFirst ? words.Z : words.W;
        return values * new Float4(
            DevicePhilox.Mask(key, Words.Lower(a)), DevicePhilox.Mask(key, Words.Lower(b)),
            DevicePhilox.Mask(key, Words.Upper(a)), DevicePhilox.Mask(key, Words.Upper(b)));
    }
}
