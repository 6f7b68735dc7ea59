using Bert4Rec.Kernels;
using Bert4Rec.Kernels.Gpu;
using Bert4Rec.Kernels.Gpu.Runtime;
using Bert4Rec.Model;

namespace Bert4Rec.Tools;

/// <summary>A <see cref="TrainingStep"/> on a device, with sequences drawn for it: as often as wanted, from first to last kernel.</summary>
internal sealed class StepRun : IDisposable
{
    private const uint Seed = 1;

    /// <summary>RecBole masks a fifth of the events in four batches of five.</summary>
    private const float RecboleMasked = 0.8f * 0.2f;

    private readonly TrainingStep _step;
    private readonly GpuKernels _kernels;
    private readonly Bert4RecModel _model;
    private readonly Tensor _parameters;
    private readonly Tensor _gradients;
    private readonly Tensor _firstMoment;
    private readonly Tensor _secondMoment;
    private readonly Tensor _loss;
    private readonly Indices _events;
    private readonly Indices _positions;
    private readonly Indices _starts;
    private readonly Indices _masked;
    private readonly Indices _rows;
    private readonly Indices _targets;
    private readonly Indices _maskedStarts;

    public StepRun(TrainingStep step, GpuDevice device)
    {
        _step = step;
        var random = new Random((int)Seed);
        var shape = step.Shape;
        int[] lengths =
        [
            .. Enumerable.Range(0, step.Sequences)
                .Select(_ => step.MeanLength == shape.MaximumLength ? step.MeanLength : random.Next(1, 2 * step.MeanLength)),
        ];
        int[] offsets = new int[lengths.Length + 1];
        for (int i = 0; i < lengths.Length; i++)
            offsets[i + 1] = offsets[i] + lengths[i];
        Tokens = offsets[^1];
        _kernels = new(device);
        var layout = new ParameterLayout(shape);
        (_parameters, _gradients, _loss) = (Floats(layout.Length), Floats(layout.Length), Floats(1));
        (_firstMoment, _secondMoment) = (Floats(layout.Length), Floats(layout.Length));
        _parameters.Upload(ParameterInitializer.Draw(layout, 0.02, (int)Seed));
        foreach (var zeros in new[] { _gradients, _firstMoment, _secondMoment })
            _kernels.Fill(zeros, 0);
        _model = new(_kernels, layout, _parameters.Buffer, _gradients.Buffer, Tokens);
        _events = Integers([.. Enumerable.Range(0, Tokens).Select(_ => random.Next(1, shape.ItemCount))]);
        _positions = Integers([.. lengths.SelectMany(length => Enumerable.Range(0, length))]);
        (_starts, _masked, _rows) = (Integers(offsets), Integers(new int[Tokens]), Integers(new int[Tokens]));
        (_targets, _maskedStarts) = (Integers(new int[Tokens]), Integers(new int[offsets.Length]));
    }

    public int Tokens { get; }

    /// <summary>Draws the cloze mask, as the other queue does while the step before is computed.</summary>
    /// <returns>Masked rows.</returns>
    public int Mask()
    {
        bool recbole = _step.RecboleCompatible;
        var masking = new ClozeMasking(
            new(Seed, 1, RandomStreams.ClozeMask, 0),
            recbole ? RecboleMasked : 0.2f,
            recbole ? 0 : 0.2f,
            _step.Shape.MaskToken,
            int.MaxValue,
            recbole,
            !recbole);
        return _kernels.ClozeMask(_events, _starts, masking, _masked, _rows, _targets, _maskedStarts);
    }

    /// <summary>Forward, backward and Adam.</summary>
    /// <param name="masked">What <see cref="Mask"/> gave.</param>
    public void Learn(int masked)
    {
        _kernels.Fill(_loss, 0);
        _model.Forward(new(_masked, _positions, _starts, _rows.Slice(0, masked), _maskedStarts), new(Seed, 1, 0, 0));
        _model.LossAndBackward(_targets.Slice(0, masked), 1f / masked, _loss);
        _kernels.Adam(_parameters, _gradients, _firstMoment, _secondMoment, default, new(1, 1e-3f));
    }

    public void Dispose()
    {
        _model.Dispose();
        _kernels.Dispose();
    }

    private Tensor Floats(long length) => Tensor.Of(_kernels.AllocateFloats(length));

    private Indices Integers(int[] values)
    {
        var indices = Indices.Of(_kernels.AllocateInts(values.Length));
        indices.Upload(values);
        return indices;
    }
}
