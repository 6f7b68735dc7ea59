using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Bert4Rec.Kernels.Cpu;
using Bert4Rec.Model;
using Bert4Rec.Training;

namespace Bert4Rec.Benchmarks;

/// <summary>What the machine can do, in GFLOP/s of all threads together: the best of some short attempts.</summary>
internal static class Peak
{
    private const int Attempts = 20;

    /// <summary>Multiply-adds that never leave the registers.</summary>
    public static double MultiplyAdd(Workers workers) => Measure(workers, static (_, repetitions) =>
    {
        if (Vector512.IsHardwareAccelerated)
            return Peak<Simd512, Vector512<float>>.MultiplyAdd(repetitions);
        return Vector256.IsHardwareAccelerated
            ? Peak<Simd256, Vector256<float>>.MultiplyAdd(repetitions)
            : Peak<Simd128, Vector128<float>>.MultiplyAdd(repetitions);
    });

    /// <summary>The matrix product that all kernels share, of matrices that stay in the first-level cache.</summary>
    public static double Product(Workers workers)
    {
        CpuBuffer<float>[] memory = [.. Enumerable.Range(0, workers.Count).Select(_ => new CpuBuffer<float>(3 * 64 * 64))];
        double speed = Measure(workers, (worker, repetitions) =>
        {
            if (Vector512.IsHardwareAccelerated)
                return Peak<Simd512, Vector512<float>>.Product(memory[worker], repetitions);
            return Vector256.IsHardwareAccelerated
                ? Peak<Simd256, Vector256<float>>.Product(memory[worker], repetitions)
                : Peak<Simd128, Vector128<float>>.Product(memory[worker], repetitions);
        });
        foreach (var buffer in memory)
            buffer.Dispose();
        return speed;
    }

    /// <param name="workers">The threads.</param>
    /// <param name="work">From worker and repetitions to floating point operations done.</param>
    private static double Measure(Workers workers, Func<int, int, double> work)
    {
        var speeds = new double[workers.Count];
        double best = 0;
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            workers.Run(worker =>
            {
                double start = ThreadClock.Now();
                double operations = work(worker, 10_000);
                speeds[worker] = operations / (ThreadClock.Now() - start);
            });
            best = Math.Max(best, speeds.Sum());
        }
        return best / 1e9;
    }
}

internal static unsafe class Peak<S, V>
    where S : struct, ISimd<V>
    where V : struct
{
    private const int Inner = 100;

    /// <summary>Twelve chains: more than latency times units, and few enough for sixteen registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static double MultiplyAdd(int repetitions)
    {
        V factor = S.Broadcast(0.999f), addend = S.Broadcast(0.001f);
        V c0 = addend, c1 = addend, c2 = addend, c3 = addend, c4 = addend, c5 = addend;
        V c6 = addend, c7 = addend, c8 = addend, c9 = addend, c10 = addend, c11 = addend;
        for (int i = 0; i < repetitions * Inner; i++)
        {
            c0 = S.MultiplyAdd(c0, factor, addend);
            c1 = S.MultiplyAdd(c1, factor, addend);
            c2 = S.MultiplyAdd(c2, factor, addend);
            c3 = S.MultiplyAdd(c3, factor, addend);
            c4 = S.MultiplyAdd(c4, factor, addend);
            c5 = S.MultiplyAdd(c5, factor, addend);
            c6 = S.MultiplyAdd(c6, factor, addend);
            c7 = S.MultiplyAdd(c7, factor, addend);
            c8 = S.MultiplyAdd(c8, factor, addend);
            c9 = S.MultiplyAdd(c9, factor, addend);
            c10 = S.MultiplyAdd(c10, factor, addend);
            c11 = S.MultiplyAdd(c11, factor, addend);
        }
        V sum = S.Add(S.Add(S.Add(c0, c1), S.Add(c2, c3)), S.Add(S.Add(c4, c5), S.Add(c6, c7)));
        sum = S.Add(sum, S.Add(S.Add(c8, c9), S.Add(c10, c11)));
        // Uses the sums, which are finite, without changing the count.
        return float.IsFinite(S.Sum(sum)) ? 2.0 * 12 * S.Width * Inner * repetitions : 0;
    }

    public static double Product(CpuBuffer<float> memory, int repetitions)
    {
        const int Rows = 48, Columns = 64, Steps = 64;
        float* a = memory.Pointer, b = a + (Rows * Steps), c = b + (Steps * Columns);
        for (int i = 0; i < repetitions; i++)
            MatMul<S, V>.Product(Rows, Columns, Steps, a, Steps, 1, b, Columns, c, Columns, c, Columns);
        return 2.0 * Rows * Columns * Steps * repetitions;
    }
}
