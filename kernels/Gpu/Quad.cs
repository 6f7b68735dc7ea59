using System.Runtime.CompilerServices;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Four columns of a row that take their random words from one block of <see cref="Philox"/>. Quad i of a row is the columns c, c + 16,
/// c + 32 and c + 48 with c = <see cref="FirstColumn"/>(i), so sixteen neighbouring threads touch neighbouring words.
/// </summary>
internal static class Quad
{
    private const int Stride = 16;

    /// <summary>How many quads cover so many columns.</summary>
    public static int Count(int columns) => (columns + (4 * Stride) - 1) / (4 * Stride) * Stride;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int FirstColumn(int quad) => (quad / Stride * 4 * Stride) + (quad % Stride);

    /// <summary>The quad from <paramref name="column"/> on of the row that begins at <paramref name="row"/>; 0 past its end.</summary>
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

    /// <summary>The values times the factors of a dropout mask.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Drop(this Float4 values, DropoutKey key, int quad, int row)
    {
        var words = DevicePhilox.Draw(key, (uint)quad, (uint)row);
        return values * new Float4(
            DevicePhilox.Mask(key, words.X), DevicePhilox.Mask(key, words.Y),
            DevicePhilox.Mask(key, words.Z), DevicePhilox.Mask(key, words.W));
    }
}
