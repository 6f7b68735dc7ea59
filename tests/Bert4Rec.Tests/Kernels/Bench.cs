using System.Collections.Concurrent;
using Bert4Rec.Kernels;
using MathNet.Numerics.LinearAlgebra;

namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// One backend and the memory of one test. Every tensor lies at an odd offset of its buffer between guard values, which
/// <see cref="On{T}"/> checks afterwards: a kernel that ignores the offset or writes past the end is found out.
/// </summary>
internal sealed class Bench : IDisposable
{
    private const int After = 64;
    private const float FloatGuard = -1234.5f;
    private const int IntGuard = -12345;

    /// <summary>Compiling the kernels takes longer than most tests: a set that did its work serves the next test.</summary>
    private static readonly ConcurrentDictionary<string, ConcurrentBag<KernelSet>> Idle = new();

    private readonly List<DeviceBuffer<float>> _floats = [];
    private readonly List<DeviceBuffer<int>> _ints = [];
    private readonly int _before;

    private Bench(KernelSet kernels, int before)
    {
        Kernels = kernels;
        _before = before;
    }

    public KernelSet Kernels { get; }

    /// <summary>Runs <paramref name="body"/> on a backend, then checks that nothing was written outside its tensors.</summary>
    /// <param name="backend">Its name.</param>
    /// <param name="body">What to run.</param>
    /// <param name="before">Offset of each tensor: multiples of 4 let kernels load 128 bits at once.</param>
    public static T On<T>(string backend, Func<Bench, T> body, int before = 7)
    {
        var idle = Idle.GetOrAdd(backend, _ => []);
        var kernels = idle.TryTake(out var used) ? used : Backends.Create(backend);
        T result;
        using (var bench = new Bench(kernels, before))
        {
            result = body(bench);
            bench.CheckGuards();
        }
        idle.Add(kernels);
        return result;
    }

    public Tensor Tensor(float[] values, int columns) => Tensor(values, values.Length / columns, columns);

    public Tensor Tensor(float[] values, int rows, int columns)
    {
        var buffer = Kernels.AllocateFloats(_before + values.Length + After);
        _floats.Add(buffer);
        buffer.Upload(Enumerable.Repeat(FloatGuard, (int)buffer.Length).ToArray());
        var tensor = new Tensor(buffer, _before, rows, columns);
        tensor.Upload(values);
        return tensor;
    }

    public Tensor Tensor(Matrix<double> values) => Tensor(values.ToFloats(), values.RowCount, values.ColumnCount);

    /// <summary>Memory as a kernel finds it that must set every element: NaN.</summary>
    public Tensor Garbage(int rows, int columns) => Tensor(Enumerable.Repeat(float.NaN, rows * columns).ToArray(), rows, columns);

    public Indices Indices(params int[] values)
    {
        var buffer = Kernels.AllocateInts(_before + values.Length + After);
        _ints.Add(buffer);
        buffer.Upload(Enumerable.Repeat(IntGuard, (int)buffer.Length).ToArray());
        var indices = new Indices(buffer, _before, values.Length);
        indices.Upload(values);
        return indices;
    }

    /// <summary>Indices that a kernel must set.</summary>
    public Indices GarbageIndices(int length) => Indices(Enumerable.Repeat(int.MinValue, length).ToArray());

    public void Dispose()
    {
        _floats.ForEach(buffer => buffer.Dispose());
        _ints.ForEach(buffer => buffer.Dispose());
    }

    private void CheckGuards()
    {
        foreach (var buffer in _floats)
            Check(buffer, FloatGuard);
        foreach (var buffer in _ints)
            Check(buffer, IntGuard);
    }

    private void Check<T>(DeviceBuffer<T> buffer, T guard)
        where T : unmanaged
    {
        var values = new T[buffer.Length];
        buffer.Download(values);
        Assert.All(values[.._before], value => Assert.Equal(guard, value));
        Assert.All(values[^After..], value => Assert.Equal(guard, value));
    }
}

/// <summary>What a kernel left in its tensors, by name.</summary>
internal static class Results
{
    public static Dictionary<string, float[]> Of(params (string Name, Tensor Tensor)[] tensors) =>
        tensors.ToDictionary(result => result.Name, result => result.Tensor.ToArray());
}
