using Bert4Rec.Kernels.Gpu.Ladder;
using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;
using ILGPU.Runtime;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// Each step of the ladder computes what the formula says, on the emulator of CUDA devices, which finds races and bad accesses.
/// </summary>
public sealed class LadderTests
{
    public static TheoryData<int> ProductSteps => [.. Enumerable.Range(0, Ladder.Products.Count)];

    public static TheoryData<int> SoftmaxSteps => [.. Enumerable.Range(0, Ladder.Softmaxes.Count)];

    public static TheoryData<int> AttentionSteps => [.. Enumerable.Range(0, Ladder.Attentions.Count)];

    [Theory]
    [MemberData(nameof(ProductSteps))]
    public void Products(int step)
    {
        const int m = 128, n = 64, k = 64;
        using var device = GpuDevices.OpenPtx(GpuDevices.Emulator);
        float[] a = Draw(m * k, 1), b = Draw(k * n, 2);
        float[] c = Run(
            device,
            [a, b, new float[m * n]],
            views => Ladder.Products[step].Launch(device, new(views[0], views[1], views[2], m, n, k)));
        // Inputs of eleven bits are off by 2⁻¹¹ at most, each; a sum of k products of two by less than k · 2⁻¹⁰.
        double bound = Ladder.Products[step].Name == nameof(TensorCoreProduct) ? k * Math.Pow(2, -10) : 1e-5;
        for (int i = 0; i < c.Length; i++)
        {
            double expected = 0;
            for (int j = 0; j < k; j++)
                expected += (double)a[(i / n * k) + j] * b[(j * n) + (i % n)];
            Assert.InRange(c[i] - expected, -bound, bound);
        }
    }

    [Theory]
    [MemberData(nameof(SoftmaxSteps))]
    public void Softmaxes(int step)
    {
        const int rows = 64, columns = 75;
        using var device = GpuDevices.OpenPtx(GpuDevices.Emulator);
        float[] x = [.. Draw(rows * columns, 3).Select(value => 20 * value)];
        float[] y = Run(
            device,
            [x, new float[x.Length]],
            views => Ladder.Softmaxes[step].Launch(device, new(views[0], views[1], rows, columns)));
        for (int row = 0; row < rows; row++)
            AssertClose(Softmax(x.Skip(row * columns).Take(columns).Select(value => (double)value)), y.Skip(row * columns), 1e-6);
    }

    [Theory]
    [MemberData(nameof(AttentionSteps))]
    public void Attentions(int step)
    {
        const int length = 128, width = SingleHead.Width;
        using var device = GpuDevices.OpenPtx(GpuDevices.Emulator);
        float[] q = [.. Draw(length * width, 4).Select(value => 4 * value)], k = Draw(q.Length, 5), v = Draw(q.Length, 6);
        float[] o = Run(
            device,
            [q, k, v, new float[length * length], new float[q.Length]],
            views => Ladder.Attentions[step].Launch(device, new(views[0], views[1], views[2], views[4], views[3], length)));
        for (int query = 0; query < length; query++)
        {
            double[] weights = Softmax(Enumerable.Range(0, length).Select(key =>
                Enumerable.Range(0, width).Sum(c => (double)q[(query * width) + c] * k[(key * width) + c]) / Math.Sqrt(width)));
            var expected = Enumerable.Range(0, width).Select(c => weights.Select((weight, key) => weight * v[(key * width) + c]).Sum());
            AssertClose([.. expected], o.Skip(query * width), 1e-5);
        }
    }

    /// <summary>Uploads the buffers, and returns the last one as it is afterwards.</summary>
    private static float[] Run(GpuDevice device, float[][] contents, Action<ArrayView<float>[]> launch)
    {
        var buffers = contents.Select(values => device.Allocate<float>(values.Length)).ToArray();
        for (int i = 0; i < buffers.Length; i++)
            buffers[i].View.CopyFromCPU(contents[i]);
        launch([.. buffers.Select(buffer => buffer.View.BaseView)]);
        device.FinishCompute();
        float[] result = new float[contents[^1].Length];
        buffers[^1].View.CopyToCPU(result);
        foreach (var buffer in buffers)
            device.Free(buffer);
        return result;
    }

    private static double[] Softmax(IEnumerable<double> row)
    {
        double[] values = [.. row];
        double max = values.Max(), sum = values.Sum(value => Math.Exp(value - max));
        return [.. values.Select(value => Math.Exp(value - max) / sum)];
    }

    private static void AssertClose(double[] expected, IEnumerable<float> actual, double bound) =>
        Assert.All(expected.Zip(actual), pair => Assert.InRange(pair.Second - pair.First, -bound, bound));

    private static float[] Draw(int count, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => (2 * random.NextSingle()) - 1)];
    }
}
