using Bert4Rec.Checking;
using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Model;
using ILGPU;
using ILGPU.Runtime;
using Linear = Bert4Rec.Kernels.Reference.Linear;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// The products for tensor cores, on the emulator of CUDA devices, which takes and gives each thread what the instruction would: were a
/// thread to hold another element than it should, results would be wrong. And on the devices that have the instruction.
/// </summary>
public class TensorCoreTests
{
    public static TheoryData<string, Precision> Devices
    {
        get
        {
            var data = new TheoryData<string, Precision>();
            foreach (string name in Names)
            {
                data.Add(name, Precision.Tf32);
                data.Add(name, Precision.Bf16);
            }
            return data;
        }
    }

    /// <summary>T, K, N: several tiles with ragged edges; one that is all edge; aligned operands; a long sum that groups share.</summary>
    public static TheoryData<string, Precision, int, int, int> Shapes => Times((70, 37, 75), (3, 5, 2), (33, 32, 40), (20, 300, 12));

    /// <summary>One instruction: elements go to the threads as the PTX ISA says, and c is what the formula says.</summary>
    [Theory]
    [MemberData(nameof(Devices))]
    public void An_instruction_multiplies(string name, Precision precision)
    {
        using var device = GpuDevices.Open(name, precision);
        var random = new Random(1);
        int steps = precision == Precision.Bf16 ? 16 : 8;
        float[] a = Rounded(random, 16 * steps, precision), b = Rounded(random, steps * 8, precision);
        float[] c = Rounded(random, 16 * 8, precision);
        using var matrixA = device.Accelerator.Allocate1D(a);
        using var matrixB = device.Accelerator.Allocate1D(b);
        using var matrixC = device.Accelerator.Allocate1D(c);
        var kernel = device.Load<Matrices>(
            precision == Precision.Bf16 ? InstructionKernel<Bf16Core> : InstructionKernel<Tf32Core>, 32);
        kernel.Launch(1, new(matrixA.View.BaseView, matrixB.View.BaseView, matrixC.View.BaseView));
        device.Compute.Synchronize();
        float[] result = matrixC.GetAsArray1D();
        for (int row = 0; row < 16; row++)
        {
            for (int column = 0; column < 8; column++)
            {
                double expected = c[(row * 8) + column];
                for (int k = 0; k < steps; k++)
                    expected += (double)a[(row * steps) + k] * b[(k * 8) + column];
                Assert.Equal(expected, result[(row * 8) + column], 1e-5);
            }
        }
    }

    [Theory]
    [InlineData(1f, 1f)]
    [InlineData(1.00048828125f, 1.0009765625f)] // 1 + 2⁻¹¹, as near to 1 as to 1 + 2⁻¹⁰
    [InlineData(-1.00048828125f, -1.0009765625f)]
    [InlineData(1.0004f, 1f)]
    [InlineData(1.9999f, 2f)]
    [InlineData(0f, 0f)]
    public void Eleven_bits_are_kept(float x, float rounded) => Assert.Equal(rounded, Converted(ConvertKernel<Tf32Core>, x, 0));

    /// <summary>To the even one of two that are as near; of the two, the first has the lower half.</summary>
    [Theory]
    [InlineData(1f, 1f)]
    [InlineData(1.00390625f, 1f)] // 1 + 2⁻⁸, as near to 1 as to 1 + 2⁻⁷
    [InlineData(1.01171875f, 1.015625f)] // 1 + 3 · 2⁻⁸, as near to 1 + 2⁻⁷ as to 1 + 2⁻⁶
    [InlineData(-1.0039064f, -1.0078125f)]
    [InlineData(1.999f, 2f)]
    [InlineData(0f, 0f)]
    public void Eight_bits_are_kept(float x, float rounded)
    {
        uint pair = BitConverter.SingleToUInt32Bits(Converted(ConvertKernel<Bf16Core>, x, 3f));
        Assert.Equal(rounded, BitConverter.UInt32BitsToSingle(pair << 16));
        Assert.Equal(3f, BitConverter.UInt32BitsToSingle(pair & 0xFFFF0000));
    }

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Products_agree_with_the_formula(string name, Precision precision, int rows, int inputs, int outputs)
    {
        // Rounding to eleven significant bits is off by 2⁻¹¹ at most, to eight by 2⁻⁸, and a product has two operands.
        double bound = precision == Precision.Bf16 ? 8e-3 : 1e-3;
        using var kernels = GpuKernels.Create(name, precision);
        using var memory = new CheckMemory(kernels);
        var random = new Random(2);
        var x = random.Normal(rows, inputs);
        var weight = random.Normal(outputs, inputs);
        var bias = random.Normal(1, outputs);
        var dy = random.Normal(rows, outputs);
        Tensor y = memory.Zeros(rows, outputs), dx = memory.Zeros(rows, inputs), dWeight = memory.Zeros(outputs, inputs);
        kernels.LinearForward(memory.Put(x), new(memory.Put(weight), memory.Put(bias)), y);
        kernels.LinearBackwardInput(memory.Put(dy), memory.Put(weight), default, dx, accumulate: false);
        kernels.LinearBackwardWeight(memory.Put(dy), memory.Put(x), new(dWeight, memory.Zeros(1, outputs)));
        Numbers.Close("y", Linear.Forward(x, weight, bias.Row(0)), y.ToArray(), bound);
        var expected = Linear.Backward(dy, x, weight);
        Numbers.Close("dx", expected.Dx, dx.ToArray(), bound);
        Numbers.Close("dWeight", expected.DWeight, dWeight.ToArray(), bound);
        // And it was that precision.
        Assert.True(GradientCheck.RelativeError(expected.Dx, dx.ToArray()) > (precision == Precision.Bf16 ? 1e-4 : 1e-6));
    }

    /// <summary>
    /// All that is built on products, within the bound of gradcheck --precision; and what is off by several bounds is caught.
    /// </summary>
    [Theory]
    [MemberData(nameof(Devices))]
    public void Gradients_are_right(string name, Precision precision)
    {
        using var kernels = GpuKernels.Create(name, precision);
        foreach (string kernel in new[] { "linear", "gelu", "softmax-cross-entropy", "top-k" })
        {
            Assert.All(
                GradientCheck.Run(kernels, kernel, 1, null, null, precision),
                result => Assert.True(result.Passed, result.ToString()));
            // Of the wider bound one shows it.
            if (precision == Precision.Tf32 || kernel == "gelu")
            {
                Assert.Contains(
                    GradientCheck.Run(kernels, kernel, 1, kernel, null, precision, withLarge: false), result => !result.Passed);
            }
        }
    }

    [Theory]
    [InlineData("cpu", Precision.Tf32)]
    [InlineData(GpuDevices.Simulator, Precision.Bf16)]
    public void Other_devices_refuse(string name, Precision precision)
    {
        string message = Assert.Throws<DeviceException>(() => new DeviceSet(name, 1, precision)).Message;
        Assert.StartsWith($"{name}: precision {precision.Name()} needs a CUDA device", message, StringComparison.Ordinal);
    }

    private static void InstructionKernel<TCore>(Matrices m)
        where TCore : struct, ITensorCore
    {
        int group = Group.IdxX / 4, step = Group.IdxX % 4 * TCore.StepsPerFloat, later = step + (4 * TCore.StepsPerFloat);
        Float2 a = default, nextA = default;
        a.X = A<TCore>(m, group, step);
        a.Y = A<TCore>(m, group + 8, step);
        nextA.X = A<TCore>(m, group, later);
        nextA.Y = A<TCore>(m, group + 8, later);
        int member = Group.IdxX % 4;
        int at = (group * 8) + (2 * member), below = at + (8 * 8);
        float c0 = m.C[at], c1 = m.C[at + 1], c2 = m.C[below], c3 = m.C[below + 1];
        TCore.MultiplyAdd(ref c0, ref c1, ref c2, ref c3, a, nextA, B<TCore>(m, step, group), B<TCore>(m, later, group));
        m.C[at] = c0;
        m.C[at + 1] = c1;
        m.C[below] = c2;
        m.C[below + 1] = c3;
    }

    private static void ConvertKernel<TCore>(Matrices m)
        where TCore : struct, ITensorCore => m.C[0] = TCore.Convert(m.A[0], m.B[0]);

    private static float Converted(Action<Matrices> kernel, float x, float next)
    {
        using var device = GpuDevices.Open(GpuDevices.Emulator);
        using var a = device.Accelerator.Allocate1D([x]);
        using var b = device.Accelerator.Allocate1D([next]);
        using var c = device.Accelerator.Allocate1D<float>(1);
        device.Load(kernel, 1).Launch(1, new(a.View.BaseView, b.View.BaseView, c.View.BaseView));
        device.Compute.Synchronize();
        return c.GetAsArray1D()[0];
    }

    private static float A<TCore>(Matrices m, int row, int step)
        where TCore : struct, ITensorCore
    {
        int at = (row * 8 * TCore.StepsPerFloat) + step;
        return TCore.Convert(m.A[at], m.A[at + TCore.StepsPerFloat - 1]);
    }

    private static float B<TCore>(Matrices m, int step, int column)
        where TCore : struct, ITensorCore
    {
        int at = (step * 8) + column;
        return TCore.Convert(m.B[at], m.B[at + (8 * (TCore.StepsPerFloat - 1))]);
    }

    /// <summary>Numbers that conversion leaves as they are.</summary>
    private static float[] Rounded(Random random, int count, Precision precision)
    {
        uint mask = precision == Precision.Bf16 ? 0xFFFF0000 : 0xFFFFE000;
        return [.. Enumerable.Range(0, count).Select(_ =>
            BitConverter.UInt32BitsToSingle(BitConverter.SingleToUInt32Bits((float)(random.NextDouble() - 0.5)) & mask))];
    }

    private static TheoryData<string, Precision, int, int, int> Times(params (int, int, int)[] shapes)
    {
        var data = new TheoryData<string, Precision, int, int, int>();
        foreach (string name in Names)
        {
            foreach (var (rows, inputs, outputs) in shapes)
            {
                data.Add(name, Precision.Tf32, rows, inputs, outputs);
                data.Add(name, Precision.Bf16, rows, inputs, outputs);
            }
        }
        return data;
    }

    private static IEnumerable<string> Names =>
    [
        GpuDevices.Emulator,
        .. GpuDevices.List().Where(device => device is { Problem: null } && device.Id.StartsWith("cuda", StringComparison.Ordinal)
            && Version.Parse(device.ComputeCapability!).Major >= 8).Select(device => device.Id),
    ];

    public readonly record struct Matrices(ArrayView<float> A, ArrayView<float> B, ArrayView<float> C);
}
