using System.Text;
using Bert4Rec.Configuration;
using Bert4Rec.Data;

namespace Bert4Rec.Tests.Data;

/// <summary>Damaged atomic files: each is loaded, or refused with the file and the line.</summary>
public sealed class DatasetLoaderFuzzTests : IDisposable
{
    private static readonly int s_casesOfASeed = Fuzz.Cases / 4;

    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Damaged_atomic_files_load_or_are_refused_with_their_line(int seed)
    {
        var random = new Random(seed);
        var config = RunConfig.Load([], [$"data_path={_folder.Path}", "dataset=a"]);
        int refused = 0;
        for (int i = 0; i < s_casesOfASeed; i++)
        {
            byte[] interactions = Encoding.UTF8.GetBytes(Interactions(random)), items = Encoding.UTF8.GetBytes(Items(random));
            bool damagesItems = random.Next(3) == 0;
            if (damagesItems)
                items = Fuzz.Damage(items, random);
            else
                interactions = Fuzz.Damage(interactions, random);
            _folder.Write("a.inter", interactions);
            _folder.Write("a.item", items);
            try
            {
                var dataset = DatasetLoader.Load(config);

                Assert.Equal(dataset.EventItems.Length, dataset.UserOffsets[^1]);
                Assert.Equal(dataset.UserCount, dataset.UserOffsets.Length - 1);
                Assert.All(dataset.EventItems, item => Assert.InRange(item, 1, dataset.ItemCount - 1));
                PlainRowsTests.AssertSame(interactions, dataset, items);
            }
            catch (InputException e)
            {
                Assert.Matches(damagesItems ? @"a\.item:\d+: " : @"a\.inter:\d+: ", e.Message);
                refused++;
            }
        }
        Assert.InRange(refused, 1, s_casesOfASeed - 1);
    }

    private static string Interactions(Random random)
    {
        var text = new StringBuilder("user_id:token\titem_id:token\ttimestamp:float\n");
        for (int rows = random.Next(1, 40); rows > 0; rows--)
            text.Append($"u{random.Next(9)}\tp{random.Next(20)}\t{random.Next(1000)}\n");
        return text.ToString();
    }

    private static string Items(Random random)
    {
        var text = new StringBuilder("item_id:token\tcategory:token_seq\tprice:float\tsize:float_seq\n");
        for (int item = 0; item < 20; item++)
            text.Append($"p{item}\tkitchen coffee\t{random.Next(100)}.5\t1 2.5\n");
        return text.ToString();
    }
}
