using Bert4Rec.Configuration;
using Bert4Rec.Kernels;

namespace Bert4Rec.Model;

/// <summary>
/// The first values of the parameters: normal for embeddings and matrices, 1 for layer-norm gains, 0 for biases. The deviation is one for
/// all, as RecBole's, or by <see cref="Initializer.Xavier"/> each one's own.
/// </summary>
internal static class ParameterInitializer
{
    /// <summary>Outside of the streams of a training step, whose steps start at 1.</summary>
    private const uint Step = 0;

    /// <param name="range">Standard deviation, where it is one for all.</param>
    /// <param name="seed">Parameter i of the flat buffer depends on (seed, i), and on its deviation.</param>
    /// <param name="initializer">What the deviation is.</param>
    /// <returns>[layout.Length]</returns>
    public static float[] Draw(ParameterLayout layout, double range, ulong seed, Initializer initializer = Initializer.Normal)
    {
        var values = new float[layout.Length];
        foreach (var entry in layout.Entries)
        {
            var target = values.AsSpan(entry.Range);
            if (entry.Shape.Length == 2)
                FillNormal(target, entry.Offset, initializer == Initializer.Xavier ? Xavier(entry.Shape) : range, seed);
            else if (entry.Name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) || entry.Name == "output_ln.weight")
                target.Fill(1);
        }
        return values;
    }

    private static double Xavier(int[] shape) => Math.Sqrt(2.0 / (shape[0] + shape[1]));

    private static void FillNormal(Span<float> target, long offset, double range, ulong seed)
    {
        for (int i = 0; i < target.Length; i++)
        {
            ulong index = (ulong)(offset + i);
            var (x, y, _, _) = Philox.Block((uint)index, (uint)(index >> 32), 0, Step, seed);
            // Box and Muller's transform of two uniform numbers, the first in (0, 1].
            double radius = Math.Sqrt(-2 * Math.Log((x + 1.0) / 4294967296.0));
            target[i] = (float)(range * radius * Math.Cos(2 * Math.PI * y / 4294967296.0));
        }
    }
}
