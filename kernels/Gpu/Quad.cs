using System.Runtime.CompilerServices;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Values of four columns of a row: those that take their random words from one block of <see cref="Philox"/>. Quad i of a row is the
/// columns c, c + 16, c + 32 and c + 48 with c = <see cref="FirstColumn"/>(i), so sixteen neighbouring threads touch neighbouring words.
/// </summary>
internal readonly struct Quad(float x, float y, float z, float w)
{
    public readonly float X = x;
    public readonly float Y = y;
    public readonly float Z = z;
    public readonly float W = w;

    private const int Stride = 16;

    public float Sum => X + Y + (Z + W);

    /// <summary>How many quads cover so many columns.</summary>
    public static int Count(int columns) => (columns + (4 * Stride) - 1) / (4 * Stride) * Stride;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int FirstColumn(int quad) => (quad / Stride * 4 * Stride) + (quad % Stride);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad Broadcast(float value) => new(value, value, value, value);

    /// <summary>What the columns from <paramref name="column"/> on have at <paramref name="row"/>, and 0 past the row's end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Quad Load(ArrayView<float> x, long row, int column, int columns) => new(
        column < columns ? x[row + column] : 0f,
        column + Stride < columns ? x[row + column + Stride] : 0f,
        column + (2 * Stride) < columns ? x[row + column + (2 * Stride)] : 0f,
        column + (3 * Stride) < columns ? x[row + column + (3 * Stride)] : 0f);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(ArrayView<float> x, long row, int column, int columns)
    {
        if (column < columns)
            x[row + column] = X;
        if (column + Stride < columns)
            x[row + column + Stride] = Y;
        if (column + (2 * Stride) < columns)
            x[row + column + (2 * Stride)] = Z;
        if (column + (3 * Stride) < columns)
            x[row + column + (3 * Stride)] = W;
    }

    /// <summary>The values less <paramref name="mean"/>, and 0 past the row's end.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Quad Centre(float mean, int column, int columns) => new(
        column < columns ? X - mean : 0f,
        column + Stride < columns ? Y - mean : 0f,
        column + (2 * Stride) < columns ? Z - mean : 0f,
        column + (3 * Stride) < columns ? W - mean : 0f);

    /// <summary>The values times the factors of a dropout mask.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Quad Drop(DropoutKey key, int quad, int row)
    {
        var words = DevicePhilox.Draw(key, (uint)quad, (uint)row);
        return this * new Quad(
            DevicePhilox.Mask(key, words.X), DevicePhilox.Mask(key, words.Y), DevicePhilox.Mask(key, words.Z), DevicePhilox.Mask(key, words.W));
    }

    public static Quad operator +(Quad a, Quad b) => new(a.X + b.X, a.Y + b.Y, a.Z + b.Z, a.W + b.W);

    public static Quad operator -(Quad a, Quad b) => new(a.X - b.X, a.Y - b.Y, a.Z - b.Z, a.W - b.W);

    public static Quad operator *(Quad a, Quad b) => new(a.X * b.X, a.Y * b.Y, a.Z * b.Z, a.W * b.W);

    public static Quad operator *(Quad a, float b) => new(a.X * b, a.Y * b, a.Z * b, a.W * b);
}
