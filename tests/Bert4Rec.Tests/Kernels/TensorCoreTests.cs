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
/// The products for tensor cores, multiplied by an emulation that takes and gives each thread what the instruction would: were a thread to
/// hold another element than it should, results would be wrong. On the emulator of CUDA devices it is the instruction itself.
/// </summary>
public class TensorCoreTests
{
    /// <summary>Rounding to eleven significant bits is off by 2⁻¹¹ at most, and a product has two operands.</summary>
    private const double Bound = 1e-3;

    public static TheoryData<string> Devices => [.. Backends.Gpus];

    /// <summary>T, K, N: several tiles with ragged edges; one that is all edge; aligned operands; a long sum that groups share.</summary>
    public static TheoryData<string, int, int, int> Shapes => Times((70, 37, 75), (3, 5, 2), (65, 48, 72), (20, 300, 12));

    /// <summary>One instruction: elements go to the threads as the PTX ISA says, and c is what the formula says.</summary>
    [Theory]
    [MemberData(nameof(Devices))]
    public void An_instruction_multiplies(string name)
    {
        using var device = GpuDevices.OpenEmulated(name);
        var random = new Random(1);
        float[] a = Rounded(random, 16 * 8), b = Rounded(random, 8 * 8), c = Rounded(random, 16 * 8);
        using var matrixA = device.Accelerator.Allocate1D(a);
        using var matrixB = device.Accelerator.Allocate1D(b);
        using var matrixC = device.Accelerator.Allocate1D(c);
        var kernel = device.Load<Matrices>(
            device.TensorCores == TensorCores.Used ? InstructionKernel<TensorCore> : InstructionKernel<EmulatedTensorCore>, 32);
        kernel.Launch(1, new(matrixA.View.BaseView, matrixB.View.BaseView, matrixC.View.BaseView));
        device.Compute.Synchronize();
        float[] result = matrixC.GetAsArray1D();
        for (int row = 0; row < 16; row++)
        {
            for (int column = 0; column < 8; column++)
            {
                double expected = c[(row * 8) + column];
                for (int k = 0; k < 8; k++)
                    expected += (double)a[(row * 8) + k] * b[(k * 8) + column];
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
    public void Eleven_bits_are_kept(float x, float rounded) => Assert.Equal(rounded, EmulatedTensorCore.Round(x));

    [Theory]
    [MemberData(nameof(Shapes))]
    public void Products_agree_with_the_formula(string name, int rows, int inputs, int outputs)
    {
        using var kernels = new GpuKernels(GpuDevices.OpenEmulated(name));
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
        Numbers.Close("y", Linear.Forward(x, weight, bias.Row(0)), y.ToArray(), Bound);
        var expected = Linear.Backward(dy, x, weight);
        Numbers.Close("dx", expected.Dx, dx.ToArray(), Bound);
        Numbers.Close("dWeight", expected.DWeight, dWeight.ToArray(), Bound);
        // And it was TF32.
        Assert.True(GradientCheck.RelativeError(expected.Dx, dx.ToArray()) > 1e-6);
    }

    /// <summary>All that is built on products, within the bound of gradcheck --precision tf32; and a percent is still caught.</summary>
    [Theory]
    [MemberData(nameof(Devices))]
    public void Gradients_are_right(string name)
    {
        using var kernels = new GpuKernels(GpuDevices.OpenEmulated(name));
        foreach (string kernel in new[] { "linear", "gelu", "softmax-cross-entropy", "top-k" })
        {
            Assert.All(
                GradientCheck.Run(kernels, kernel, 1, null, null, Precision.Tf32),
                result => Assert.True(result.Passed, result.ToString()));
            Assert.Contains(GradientCheck.Run(kernels, kernel, 1, kernel, null, Precision.Tf32), result => !result.Passed);
        }
    }

    [Theory]
    [InlineData("cpu")]
    [InlineData(GpuDevices.Simulator)]
    public void Other_devices_refuse(string name)
    {
        string message = Assert.Throws<DeviceException>(() => new DeviceSet(name, 1, Precision.Tf32)).Message;
        Assert.StartsWith($"{name}: precision tf32 needs a CUDA device", message, StringComparison.Ordinal);
    }

    private static void InstructionKernel<TCore>(Matrices m)
        where TCore : struct, ITensorCore
    {
        var exchange = SharedMemory.Allocate<float>(32 * 6);
        int group = Group.IdxX / 4, member = Group.IdxX % 4;
        Float2 a = default, nextA = default;
        a.X = m.A[(group * 8) + member];
        a.Y = m.A[((group + 8) * 8) + member];
        nextA.X = m.A[(group * 8) + member + 4];
        nextA.Y = m.A[((group + 8) * 8) + member + 4];
        int at = (group * 8) + (2 * member), below = at + (8 * 8);
        float c0 = m.C[at], c1 = m.C[at + 1], c2 = m.C[below], c3 = m.C[below + 1];
        TCore.MultiplyAdd(
            ref c0, ref c1, ref c2, ref c3, a, nextA, m.B[(member * 8) + group], m.B[((member + 4) * 8) + group], exchange);
        m.C[at] = c0;
        m.C[at + 1] = c1;
        m.C[below] = c2;
        m.C[below + 1] = c3;
    }

    private static float[] Rounded(Random random, int count) =>
        [.. Enumerable.Range(0, count).Select(_ => EmulatedTensorCore.Round((float)(random.NextDouble() - 0.5)))];

    private static TheoryData<string, int, int, int> Times(params (int, int, int)[] shapes)
    {
        var data = new TheoryData<string, int, int, int>();
        foreach (string name in Backends.Gpus)
            foreach (var (rows, inputs, outputs) in shapes)
                data.Add(name, rows, inputs, outputs);
        return data;
    }

    public readonly record struct Matrices(ArrayView<float> A, ArrayView<float> B, ArrayView<float> C);
}
