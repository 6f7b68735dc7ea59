using Bert4Rec.Data;
using Bert4Rec.Kernels;
using Bert4Rec.Model;
using Bert4Rec.Training;
using TorchSharp;
using static TorchSharp.torch;
using Tensor = TorchSharp.torch.Tensor;

namespace Bert4Rec.TorchPeer;

/// <summary>Trains the TorchSharp model on the batches, with the cloze masks and from the weights of a <see cref="Trainer"/>.</summary>
internal sealed class PeerTrainer : IDisposable
{
    private readonly TorchBert4Rec _model;
    private readonly optim.Optimizer _optimizer;
    private readonly Trainer _trainer;
    private readonly int[] _events;
    private readonly KernelSet _kernels;

    public PeerTrainer(TrainerSettings settings, Trainer trainer, InteractionDataset dataset, KernelSet kernels)
    {
        _trainer = trainer;
        _events = dataset.EventItems;
        _kernels = kernels;
        _model = new TorchBert4Rec(settings.Shape);
        var values = new float[trainer.Layout.Length];
        trainer.Parameters.Download(values);
        using (no_grad())
        {
            var parameters = _model.named_parameters().ToDictionary(pair => pair.name, pair => pair.parameter);
            foreach (var entry in trainer.Layout.Entries)
            {
                using var value = tensor(
                    values.AsSpan((int)entry.Offset, (int)entry.Length).ToArray(), [.. entry.Shape.Select(side => (long)side)]);
                parameters[entry.Name].copy_(value);
                parameters.Remove(entry.Name);
            }
            if (parameters.Count > 0)
                throw new InvalidOperationException($"{parameters.Keys.First()}: not a parameter of ours");
        }
        _optimizer = optim.Adam(_model.parameters(), settings.LearningRate);
        _model.train();
    }

    /// <summary>A step on the trainer's epoch sequences first to first + count, masked as its step so many.</summary>
    /// <returns>The mean loss.</returns>
    public double TrainStep(int step, int first, int count)
    {
        var batch = Pad(first, count, _trainer.Masking(step));
        if (batch.Targets.Length == 0)
            return double.NaN;
        using var scope = NewDisposeScope();
        Tensor tokens = tensor(batch.Tokens, [count, batch.Length]), rows = tensor(batch.MaskedRows), targets = tensor(batch.Targets);
        _optimizer.zero_grad();
        var loss = nn.functional.cross_entropy(_model.forward(tokens, rows), targets);
        loss.backward();
        _optimizer.step();
        return loss.item<float>();
    }

    public void Dispose()
    {
        _optimizer.Dispose();
        _model.Dispose();
    }

    /// <summary>The batch as rows of the longest history's length, padded with 0.</summary>
    private (long[] Tokens, long Length, long[] MaskedRows, long[] Targets) Pad(int first, int count, in ClozeMasking masking)
    {
        int tokens = 0, longest = 0;
        var offsets = new int[count + 1];
        for (int b = 0; b < count; b++)
        {
            int length = _trainer.EpochSequences[first + b].Length;
            offsets[b + 1] = tokens += length;
            longest = Math.Max(longest, length);
        }
        var packed = new int[tokens];
        for (int b = 0; b < count; b++)
            _events.AsSpan(_trainer.EpochSequences[first + b].Start, offsets[b + 1] - offsets[b]).CopyTo(packed.AsSpan(offsets[b]));

        int[] maskedTokens = new int[tokens], maskedRows = new int[tokens], targets = new int[tokens];
        int masked = Mask(packed, offsets, masking, maskedTokens, maskedRows, targets);
        var padded = new long[count * (long)longest];
        var paddedRow = new long[tokens];
        for (int b = 0; b < count; b++)
        {
            for (int t = offsets[b]; t < offsets[b + 1]; t++)
            {
                paddedRow[t] = ((long)b * longest) + t - offsets[b];
                padded[paddedRow[t]] = maskedTokens[t];
            }
        }
        return (
            padded,
            longest,
            [.. maskedRows.Take(masked).Select(row => paddedRow[row])],
            [.. targets.Take(masked).Select(target => (long)target)]);
    }

    private int Mask(int[] packed, int[] offsets, in ClozeMasking masking, int[] maskedTokens, int[] maskedRows, int[] targets)
    {
        using DeviceBuffer<int> tokens = _kernels.AllocateInts(packed.Length), starts = _kernels.AllocateInts(offsets.Length);
        using DeviceBuffer<int> tokensOut = _kernels.AllocateInts(packed.Length), rowsOut = _kernels.AllocateInts(packed.Length);
        using DeviceBuffer<int> targetsOut = _kernels.AllocateInts(packed.Length), startsOut = _kernels.AllocateInts(offsets.Length);
        tokens.Upload(packed);
        starts.Upload(offsets);
        int masked = _kernels.ClozeMask(
            Indices.Of(tokens), Indices.Of(starts), masking,
            Indices.Of(tokensOut), Indices.Of(rowsOut), Indices.Of(targetsOut), Indices.Of(startsOut));
        tokensOut.Download(maskedTokens);
        rowsOut.Download(maskedRows);
        targetsOut.Download(targets);
        return masked;
    }
}
