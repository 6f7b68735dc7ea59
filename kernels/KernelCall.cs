namespace Bert4Rec.Kernels;

/// <summary>Watches, times or spoils the operations of a <see cref="KernelSet"/>.</summary>
public interface IKernelObserver
{
    /// <summary>Called when the operands are checked, and nothing is done yet.</summary>
    void Before(in KernelCall call);

    /// <summary>Called when the operation is launched; reading its results waits for it.</summary>
    void After(in KernelCall call);
}

/// <summary>A call of an operation: what it does to memory, and its work.</summary>
public readonly ref struct KernelCall
{
    /// <summary>Its name in <see cref="KernelSet"/>.</summary>
    public string Operation { get; internal init; }

    /// <summary>Operands that it reads, large ones; some may be none.</summary>
    public ReadOnlySpan<Tensor> Read { get; internal init; }

    /// <summary>Results that it sets (=); some may be none.</summary>
    public ReadOnlySpan<Tensor> Set { get; internal init; }

    /// <summary>Results that it adds to (+=); some may be none.</summary>
    public ReadOnlySpan<Tensor> Added { get; internal init; }

    /// <summary>Of the matrix products in it; nothing else is counted.</summary>
    public long MultiplyAdds { get; internal init; }

    /// <summary>Tokens that it takes into the model: those of the embedding's forward.</summary>
    public int Tokens { get; internal init; }

    /// <summary>Items that it draws, or none.</summary>
    public Indices Drawn { get; internal init; }

    /// <summary>Elements that are read or written where operands and results do not say; else 0.</summary>
    internal long Touched { get; init; }

    /// <summary>Bytes of its operands and results, each counted as often as it is read or written.</summary>
    public long Bytes
    {
        get
        {
            if (Touched > 0)
                return sizeof(float) * Touched;
            long floats = 0;
            foreach (var tensor in Read)
                floats += tensor.Length;
            foreach (var tensor in Set)
                floats += tensor.Length;
            foreach (var tensor in Added)
                floats += 2 * tensor.Length;
            return sizeof(float) * floats;
        }
    }

    /// <summary>Tells the observer of the beginning now and of the end at its disposal.</summary>
    internal readonly ref struct Scope
    {
        private readonly IKernelObserver? _observer;
        private readonly KernelCall _call;

        public Scope(IKernelObserver? observer, KernelCall call)
        {
            _observer = observer;
            _call = call;
            observer?.Before(call);
        }

        public void Dispose() => _observer?.After(_call);
    }
}
