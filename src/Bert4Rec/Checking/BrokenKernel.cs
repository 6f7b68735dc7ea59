using System.Text.Json;
using Bert4Rec.Kernels;

namespace Bert4Rec.Checking;

/// <summary>
/// Spoils a kernel, to see that a check finds such a mistake: what its backward sets is multiplied by <see cref="Factor"/>, and so is what
/// it adds. Kernels without a backward get their result so; of the cloze mask, whose results are whole numbers, the first target is another
/// item.
/// </summary>
/// <param name="kernel">The operation's name as <see cref="GradientCheck.Kernels"/> has it.</param>
internal sealed class BrokenKernel(string kernel) : IKernelObserver
{
    private readonly List<float[]> _before = [];

    /// <summary>What is wrong is too large by it.</summary>
    public float Factor { get; set; } = 1.01f;

    /// <summary>How many calls were spoiled.</summary>
    public int Calls { get; private set; }

    public void Before(in KernelCall call)
    {
        _before.Clear();
        if (!IsBroken(call))
            return;
        foreach (var tensor in call.Added)
            _before.Add(tensor.IsNone ? [] : tensor.ToArray());
    }

    public void After(in KernelCall call)
    {
        if (!IsBroken(call))
            return;
        Calls++;
        foreach (var tensor in call.Set)
        {
            if (!tensor.IsNone)
                tensor.Upload([.. tensor.ToArray().Select(value => Factor * value)]);
        }
        for (int i = 0; i < call.Added.Length; i++)
        {
            if (!call.Added[i].IsNone)
                call.Added[i].Upload([.. call.Added[i].ToArray().Zip(_before[i], (value, start) => start + (Factor * (value - start)))]);
        }
        if (!call.Drawn.IsNone)
            call.Drawn.First(1).Upload([call.Drawn.First(1).ToArray()[0] + 1]);
    }

    private bool IsBroken(in KernelCall call) => !call.Operation.Contains("Forward") && NameOf(call.Operation) == kernel;

    /// <summary>LinearBackwardWeight is an operation of "linear".</summary>
    internal static string NameOf(string operation) => JsonNamingPolicy.KebabCaseLower.ConvertName(operation.Split("Backward")[0]);
}
