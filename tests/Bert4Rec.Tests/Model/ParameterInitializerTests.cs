using Bert4Rec.Configuration;
using Bert4Rec.Model;

namespace Bert4Rec.Tests.Model;

public class ParameterInitializerTests
{
    private static readonly ParameterLayout Layout = new(
        new(ItemCount: 300, 40, HiddenSize: 48, InnerSize: 100, 2, 2, 1e-12f, 0, 0, NormFirst: true));

    [Theory]
    [InlineData(65_536, 400, 64, 1)]
    [InlineData(256, 10_000_000, 64, 2)]
    [InlineData(16, 400, 65_536, 1024)]
    public void More_parameters_than_an_array_holds_are_refused(int hidden, int items, int inner, int layers)
    {
        var failure = Assert.Throws<InputException>(() => new ParameterLayout(new(items, 50, hidden, inner, layers, 1, 1e-12f, 0, 0)));
        Assert.Contains($"hidden_size ({hidden}), inner_size ({inner}), n_layers ({layers})", failure.Message);
    }

    [Theory]
    [InlineData(Initializer.Normal)]
    [InlineData(Initializer.Xavier)]
    public void Matrices_are_normal_gains_one_and_biases_nothing(Enum choice)
    {
        var initializer = (Initializer)choice;
        float[] values = ParameterInitializer.Draw(Layout, 0.03, 5, initializer);
        foreach (var entry in Layout.Entries)
        {
            float[] part = values[(int)entry.Offset..(int)(entry.Offset + entry.Length)];
            if (entry.Shape is [int rows, int columns])
            {
                double expected = initializer == Initializer.Xavier ? Math.Sqrt(2.0 / (rows + columns)) : 0.03;
                double deviation = Math.Sqrt(part.Average(value => (double)value * value));
                // Four standard errors.
                Assert.InRange(deviation / expected, 1 - (4 / Math.Sqrt(2 * part.Length)), 1 + (4 / Math.Sqrt(2 * part.Length)));
            }
            else
            {
                bool isGain = entry.Name.EndsWith("LayerNorm.weight", StringComparison.Ordinal) || entry.Name == "output_ln.weight";
                Assert.All(part, value => Assert.Equal(isGain ? 1 : 0, value));
            }
        }
    }

    /// <summary>Both draw the same numbers, and scale them.</summary>
    [Fact]
    public void A_parameter_depends_on_the_seed_and_its_place()
    {
        float[] normal = ParameterInitializer.Draw(Layout, Math.Sqrt(2.0 / (301 + 48)), 5), other = ParameterInitializer.Draw(Layout, 1, 6);
        float[] xavier = ParameterInitializer.Draw(Layout, 1, 5, Initializer.Xavier);
        int items = (int)Layout["item_embedding.weight"].Length;
        Assert.Equal(normal[..items], xavier[..items]);
        Assert.NotEqual(other[0], normal[0]);
    }
}
