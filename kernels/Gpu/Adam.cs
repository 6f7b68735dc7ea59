using Bert4Rec.Kernels.Gpu.Runtime;
using ILGPU;

namespace Bert4Rec.Kernels.Gpu;

/// <summary>
/// Adam over flat buffers, one pass that reads four arrays and writes four, and the norm that clips a gradient: its sum of squares keeps
/// what each addition rounds away, and comes in two scales, so that no square overflows, and none of a number
/// above 10⁻²⁵ underflows.
/// </summary>
internal sealed class Adam
{
    /// <summary>
    /// Numbers from here on are squared at <see cref="LargeScale"/>, others at <see cref="SmallScale"/>; both are powers of two.
    /// </summary>
    private const float Large = 1 << 20;
    private const float SmallScale = 1 << 20;
    private const float LargeScale = 1f / (1L << 40) / (1L << 40);

    private readonly GpuDevice _device;
    private readonly GpuKernel<StepArguments> _step;
    private readonly GpuKernel<StepArguments> _stepFloat4;
    private readonly GpuKernel<StepRowsArguments> _stepRows;
    private readonly GpuKernel<NormArguments> _norm;

    public Adam(GpuDevice device)
    {
        _device = device;
        int size = device.GroupSize;
        _step = device.Load<StepArguments>(StepKernel, size);
        _stepFloat4 = device.Load<StepArguments>(StepFloat4Kernel, size);
        _stepRows = device.Load<StepRowsArguments>(StepRowsKernel, size);
        _norm = device.Load<NormArguments>(device.UsesWarps ? NormKernel<WarpReduction> : NormKernel<SharedReduction>, size);
    }

    public void Step(
        Tensor parameters, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        ArrayView<float> p = parameters.View(), g = gradients.View(), m = firstMoments.View(), v = secondMoments.View();
        var arguments = new StepArguments(p, g, m, v, norms.View(), new Rates(step));
        if (GpuDevice.IsAligned(p) && GpuDevice.IsAligned(g) && GpuDevice.IsAligned(m) && GpuDevice.IsAligned(v))
            _stepFloat4.Launch(_device.GroupsFor(p.Length / 4), arguments);
        else
            _step.Launch(_device.GroupsFor(p.Length), arguments);
    }

    public void StepRows(
        Tensor parameters, Indices rows, Tensor gradients, Tensor firstMoments, Tensor secondMoments, Tensor norms, in AdamStep step)
    {
        var lanes = new RowLanes(_device, gradients.Columns);
        _stepRows.Launch(
            lanes.Groups(rows.Length),
            new(
                parameters.View(),
                rows.View(),
                gradients.View(),
                firstMoments.View(),
                secondMoments.View(),
                norms.View(),
                new Rates(step),
                gradients.Columns,
                lanes.Bits));
    }

    public void GradientNorm(Tensor x, Tensor result)
    {
        int groups = _device.GroupsFor(x.Length);
        _norm.Launch(groups, new(x.View(), _device.Workspace(2 * groups), result.View(), _device.Counters));
    }

    private static void StepKernel(StepArguments a)
    {
        float clip = a.Rates.ClippingScale(a.Norms);
        for (long i = Grid.GlobalLinearIndex; i < a.Parameters.Length; i += (long)Grid.DimX * Group.DimX)
            a.Move(i, clip);
    }

    /// <summary>The same, a <see cref="Float4"/> at a time.</summary>
    private static void StepFloat4Kernel(StepArguments a)
    {
        float clip = a.Rates.ClippingScale(a.Norms);
        ArrayView<Float4> parameters = Float4.Wide(a.Parameters), gradients = Float4.Wide(a.Gradients);
        ArrayView<Float4> firstMoments = Float4.Wide(a.FirstMoments), secondMoments = Float4.Wide(a.SecondMoments);
        for (long i = Grid.GlobalLinearIndex; i < parameters.Length; i += (long)Grid.DimX * Group.DimX)
        {
            Float4 p = parameters[i], g = gradients[i], m = firstMoments[i], v = secondMoments[i];
            var x = a.Rates.Next(clip, p.X, g.X, m.X, v.X);
            var y = a.Rates.Next(clip, p.Y, g.Y, m.Y, v.Y);
            var z = a.Rates.Next(clip, p.Z, g.Z, m.Z, v.Z);
            var w = a.Rates.Next(clip, p.W, g.W, m.W, v.W);
            parameters[i] = new(x.Parameter, y.Parameter, z.Parameter, w.Parameter);
            firstMoments[i] = new(x.First, y.First, z.First, w.First);
            secondMoments[i] = new(x.Second, y.Second, z.Second, w.Second);
            gradients[i] = new(0, 0, 0, 0);
        }
        long rest = (4 * parameters.Length) + Grid.GlobalLinearIndex;
        if (rest < a.Parameters.Length)
            a.Move(rest, clip);
    }

    /// <summary>Neighbouring threads have neighbouring columns of a row.</summary>
    private static void StepRowsKernel(StepRowsArguments a)
    {
        float clip = a.Rates.ClippingScale(a.Norms);
        int lanes = 1 << a.LaneBits, rowsPerGrid = (Group.DimX >> a.LaneBits) * Grid.DimX;
        for (int m = Grid.GlobalIndex.X >> a.LaneBits; m < a.Rows.Length; m += rowsPerGrid)
        {
            long row = (long)a.Rows[m] * a.Size, from = (long)m * a.Size;
            for (int column = Group.IdxX & (lanes - 1); column < a.Size; column += lanes)
            {
                long i = row + column;
                var next = a.Rates.Next(clip, a.Parameters[i], a.Gradients[from + column], a.FirstMoments[i], a.SecondMoments[i]);
                a.Parameters[i] = next.Parameter;
                a.FirstMoments[i] = next.First;
                a.SecondMoments[i] = next.Second;
                a.Gradients[from + column] = 0;
            }
        }
    }

    private static void NormKernel<R>(NormArguments a)
        where R : struct, IGroupReduction
    {
        var shared = SharedMemory.Allocate<Pair>(GpuDevice.LargestGroup);
        CompensatedSum small = new(0, 0), large = new(0, 0);
        for (long i = Grid.GlobalLinearIndex; i < a.X.Length; i += (long)Grid.DimX * Group.DimX)
        {
            float x = a.X[i];
            if (IntrinsicMath.Abs(x) >= Large)
                large = large.Plus(x * LargeScale * (x * LargeScale));
            else
                small = small.Plus(x * SmallScale * (x * SmallScale));
        }
        var total = default(R).Reduce<Pair, PairSum>(new(small.Total, large.Total), Group.DimX, shared);
        if (Group.IdxX == 0)
        {
            a.Squares[2 * Grid.IdxX] = total.X;
            a.Squares[(2 * Grid.IdxX) + 1] = total.Y;
        }
        if (!LastGroup.IsThis(a.Counter, Grid.DimX))
            return;
        small = new(0, 0);
        large = new(0, 0);
        for (int i = Group.IdxX; i < Grid.DimX; i += Group.DimX)
        {
            small = small.Plus(a.Squares[2 * i]);
            large = large.Plus(a.Squares[(2 * i) + 1]);
        }
        total = default(R).Reduce<Pair, PairSum>(new(small.Total, large.Total), Group.DimX, shared);
        if (Group.IdxX != 0)
            return;
        // The small numbers' part is scaled before it is squared: the square of the scale is below the smallest float.
        float smallPart = MathF.Sqrt(total.X) * (LargeScale / SmallScale);
        a.Result[0] = total.Y == 0 ? MathF.Sqrt(total.X) / SmallScale : MathF.Sqrt(total.Y + (smallPart * smallPart)) / LargeScale;
    }

    internal readonly record struct StepArguments(
        ArrayView<float> Parameters, ArrayView<float> Gradients, ArrayView<float> FirstMoments, ArrayView<float> SecondMoments,
        ArrayView<float> Norms, Rates Rates)
    {
        /// <summary>One parameter's step.</summary>
        public void Move(long i, float clip)
        {
            var next = Rates.Next(clip, Parameters[i], Gradients[i], FirstMoments[i], SecondMoments[i]);
            Parameters[i] = next.Parameter;
            FirstMoments[i] = next.First;
            SecondMoments[i] = next.Second;
            Gradients[i] = 0;
        }
    }

    /// <summary>Row m of the gradients belongs to row Rows[m] of the others.</summary>
    internal readonly record struct StepRowsArguments(
        ArrayView<float> Parameters, ArrayView<int> Rows, ArrayView<float> Gradients, ArrayView<float> FirstMoments,
        ArrayView<float> SecondMoments, ArrayView<float> Norms, Rates Rates, int Size, int LaneBits);

    /// <param name="X">What to square.</param>
    /// <param name="Squares">Two sums a group: of the small numbers, and of the large.</param>
    /// <param name="Result">The norm.</param>
    /// <param name="Counter">For <see cref="LastGroup"/>.</param>
    internal readonly record struct NormArguments(
        ArrayView<float> X, ArrayView<float> Squares, ArrayView<float> Result, ArrayView<int> Counter);

    /// <summary>An <see cref="AdamStep"/> with what is the same for all parameters worked out.</summary>
    internal readonly struct Rates
    {
        private readonly float _stepSize, _inverseRoot, _beta1, _beta2, _epsilon, _penalty, _shrinkage, _maximumNorm;

        public Rates(in AdamStep step)
        {
            _stepSize = (float)(step.LearningRate / (1 - Math.Pow(step.Beta1, step.Step)));
            _inverseRoot = (float)(1 / Math.Sqrt(1 - Math.Pow(step.Beta2, step.Step)));
            _beta1 = step.Beta1;
            _beta2 = step.Beta2;
            _epsilon = step.Epsilon;
            _penalty = step.Penalty;
            _shrinkage = step.Shrinkage;
            _maximumNorm = step.MaximumNorm;
        }

        public Moved Next(float clip, float parameter, float gradient, float first, float second)
        {
            float g = (clip * gradient) + (_penalty * parameter);
            float m = (_beta1 * first) + ((1 - _beta1) * g);
            float v = (_beta2 * second) + ((1 - _beta2) * (g * g));
            float move = _stepSize * m / ((MathF.Sqrt(v) * _inverseRoot) + _epsilon);
            return new(parameter - ((_shrinkage * parameter) + move), m, v);
        }

        /// <summary>
        /// Factor of the gradient, from the norms of its parts; as <see cref="AdamStep.ClippingScale"/> without its squares.
        /// </summary>
        /// <remarks>
        /// 0f and 1f: of the integers 0 and 1, converted, ILGPU 1.5.3 makes their bit patterns, 0 and 1.4e-45.
        /// </remarks>
        public float ClippingScale(ArrayView<float> norms)
        {
            float largest = 0, squares = 0;
            for (int i = 0; i < norms.Length; i++)
                largest = norms[i] > largest ? norms[i] : largest;
            if (largest == 0 || largest > float.MaxValue)
                return largest > _maximumNorm ? 0f : 1f;
            for (int i = 0; i < norms.Length; i++)
                squares += norms[i] / largest * (norms[i] / largest);
            float norm = largest * MathF.Sqrt(squares);
            return norm > _maximumNorm ? _maximumNorm / (norm + 1e-6f) : 1f;
        }
    }

    /// <summary>A parameter and its moments after the step.</summary>
    internal readonly struct Moved(float parameter, float first, float second)
    {
        public readonly float Parameter = parameter;
        public readonly float First = first;
        public readonly float Second = second;
    }
}
