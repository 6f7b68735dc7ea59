namespace Bert4Rec.Tests.Kernels;

/// <summary>
/// What holds for every layer, on top of its own tests: the same call gives the same bits, and backends agree with each other, which their
/// separate agreement with the reference allows to be off by twice as much.
/// </summary>
public abstract class LayerTests
{
    /// <summary>Forward and backward of a typical case, dropout on where there is one: every output by name.</summary>
    protected abstract IReadOnlyDictionary<string, float[]> Run(string backend);

    [Theory]
    [MemberData(nameof(Backends.All), MemberType = typeof(Backends))]
    public void The_same_call_gives_the_same_bits(string backend)
    {
        var first = Run(backend);
        var second = Run(backend);
        Assert.NotEmpty(first);
        foreach (var (name, values) in first)
        {
            var bits = Array.ConvertAll(values, BitConverter.SingleToInt32Bits);
            Assert.Equal(bits, Array.ConvertAll(second[name], BitConverter.SingleToInt32Bits));
        }
    }

    [Theory]
    [MemberData(nameof(Backends.Others), MemberType = typeof(Backends))]
    public void Backends_agree(string backend)
    {
        var expected = Run(Backends.First);
        foreach (var (name, values) in Run(backend))
            Numbers.Close($"{name} of {backend}", expected[name].ToMatrix(1), values, 1e-6);
    }
}
