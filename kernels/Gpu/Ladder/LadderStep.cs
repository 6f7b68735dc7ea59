using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu.Ladder;

/// <summary>
/// A step of the ladder: kernels that compute the same, each with one idea more than the one before it. They are here to be read and
/// counted; no model uses them.
/// </summary>
/// <param name="Name">Of its file.</param>
/// <param name="Idea">What it has over the step before it.</param>
/// <param name="Launch">Computes it.</param>
internal sealed record LadderStep<TProblem>(string Name, string Idea, Action<GpuDevice, TProblem> Launch);

/// <summary>The steps of each operation.</summary>
internal static class Ladder
{
    /// <summary>A matrix product.</summary>
    public static IReadOnlyList<LadderStep<MatrixProduct>> Products { get; } =
    [
        Step<MatrixProduct>(
            nameof(NaiveProduct), "a thread a result", NaiveProduct.Kernel, 256,
            p => new(p.N / NaiveProduct.Columns, p.M / NaiveProduct.Rows)),
        Step<MatrixProduct>(
            nameof(CoalescedProduct), "neighbouring threads, neighbouring columns", CoalescedProduct.Kernel, 256,
            p => new(p.N / CoalescedProduct.Columns, p.M / CoalescedProduct.Rows)),
        Step<MatrixProduct>(
            nameof(SharedTileProduct), "tiles in shared memory", SharedTileProduct.Kernel, SharedTileProduct.Size * SharedTileProduct.Size,
            p => new(p.N / SharedTileProduct.Size, p.M / SharedTileProduct.Size)),
        Step<MatrixProduct>(
            nameof(RegisterTileProduct), "4 × 4 results in registers", RegisterTileProduct.Kernel, 256,
            p => new(p.N / RegisterTileProduct.Size, p.M / RegisterTileProduct.Size)),
        Step<MatrixProduct>(
            nameof(PipelinedProduct), "four floats at a time, and the next step on its way", PipelinedProduct.Kernel, 256,
            p => new(p.N / PipelinedProduct.Size, p.M / PipelinedProduct.Size)),
        Step<MatrixProduct>(
            nameof(TensorCoreProduct), "tensor cores", TensorCoreProduct.Kernel, TensorCoreProduct.Threads,
            p => new(p.N / TensorCoreProduct.Size, p.M / TensorCoreProduct.Size)),
    ];

    /// <summary>The softmax of rows.</summary>
    public static IReadOnlyList<LadderStep<RowSoftmax>> Softmaxes { get; } =
    [
        Step<RowSoftmax>(
            nameof(ThreadSoftmax), "a thread a row", ThreadSoftmax.Kernel, ThreadSoftmax.Threads,
            s => new(s.Rows / ThreadSoftmax.Threads, 1)),
        Step<RowSoftmax>(nameof(WarpSoftmax), "a warp a row", WarpSoftmax.Kernel, WarpSoftmax.Threads, s => new(s.Rows, 1)),
        Step<RowSoftmax>(
            nameof(OnlineSoftmax), "maximum and sum in one walk", OnlineSoftmax.Kernel, OnlineSoftmax.Threads, s => new(s.Rows, 1)),
    ];

    /// <summary>Attention of one head.</summary>
    public static IReadOnlyList<LadderStep<SingleHead>> Attentions { get; } =
    [
        new(nameof(MaterializedAttention), "the formula, in three launches", (device, h) =>
        {
            const int threads = MaterializedAttention.Threads;
            device.Load<SingleHead>(MaterializedAttention.ScoresKernel, threads)
                .Launch(new Index2D((h.T + threads - 1) / threads, h.T), h);
            device.Load<RowSoftmax>(OnlineSoftmax.Kernel, OnlineSoftmax.Threads).Launch(h.T, new(h.Work, h.Work, h.T, h.T));
            device.Load<SingleHead>(MaterializedAttention.SumsKernel, threads).Launch(h.T * SingleHead.Width / threads, h);
        }),
        Step<SingleHead>(
            nameof(FusedAttention), "one launch, no weights in memory", FusedAttention.Kernel, FusedAttention.Threads,
            h => new(h.T / FusedAttention.Queries, 1)),
        Step<SingleHead>(
            nameof(FlashAttention), "each score once, rescaled sums", FlashAttention.Kernel, FlashAttention.Threads,
            h => new(h.T / FusedAttention.Queries, 1)),
    ];

    private static LadderStep<TProblem> Step<TProblem>(
        string name, string idea, Action<TProblem> kernel, int threads, Func<TProblem, Index2D> groups)
        where TProblem : struct =>
        new(name, idea, (device, problem) => device.Load(kernel, threads).Launch(groups(problem), problem));
}
