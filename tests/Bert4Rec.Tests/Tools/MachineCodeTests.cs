using Bert4Rec.Tools;

namespace Bert4Rec.Tests.Tools;

/// <summary>What docs/gpu-kernels.md counts, on a listing and on figures whose answer is known.</summary>
public class MachineCodeTests
{
    private const string Listing = """
        .text.Kernel_Kernel:
                /*0000*/                   MOV R1, c[0x0][0x28] ;
        .L_x_2:
                /*0010*/                   S2R R0, SR_TID.X ;
        .L_x_0:
                /*0020*/                   LDS.128 R4, [R0+0x10] ;
                /*0030*/                   FFMA R4, R5, R6.reuse, R4 ;
                /*0040*/              @!P0 FFMA R4, R5, R6, R4 ;
                /*0050*/               @P1 BRA `(.L_x_1) ;
                /*0060*/              @!P0 BRA `(.L_x_0) ;
        .L_x_1:
                /*0070*/             @!UP0 UIADD3 UR4, UR4, 0x1, URZ ;
                /*0080*/                   BRA `(.L_x_2) ;
        .L_x_3:
                /*0090*/                   FFMA R1, R1, R1, R1 ;
                /*00a0*/               @P2 BRA `(.L_x_3) ;
        .L_x_4:
                /*00b0*/                   BRA `(.L_x_4) ;
        """;

    [Fact]
    public void Loops_without_loops_inside_are_found()
    {
        var code = MachineCode.Parse(Listing);
        Assert.Equal(12, code.Opcodes.Count);
        Assert.Equal([["LDS.128", "FFMA", "FFMA", "BRA", "BRA"], ["FFMA", "BRA"]], code.InnerLoops.Select(loop => loop.Opcodes));
        Assert.Equal(2, code.MainLoop.Count("FFMA"));
    }

    /// <summary>As NVIDIA's occupancy calculator says.</summary>
    [Theory]
    [InlineData("sm_80", 256, 32, 0, 8, 't')]
    [InlineData("sm_80", 128, 128, 0, 4, 'r')]
    [InlineData("sm_80", 128, 129, 0, 3, 'r')]
    [InlineData("sm_80", 32, 16, 0, 32, 'g')]
    [InlineData("sm_80", 64, 32, 19968, 8, 's')]
    [InlineData("sm_75", 256, 64, 0, 4, 't')]
    [InlineData("sm_75", 128, 32, 16384, 4, 's')]
    [InlineData("sm_86", 256, 40, 0, 6, 't')]
    [InlineData("sm_90", 1024, 64, 0, 1, 'r')]
    public void Groups_of_a_multiprocessor(string architecture, int threads, int registers, int sharedBytes, int groups, char limit)
    {
        var multiprocessor = Multiprocessor.All.Single(other => other.Architecture == architecture);
        var (found, why) = multiprocessor.GroupsOf(threads, registers, sharedBytes);
        Assert.Equal((groups, limit), (found, why[0]));
        Assert.Equal((double)groups * threads / 32 / multiprocessor.Warps, multiprocessor.OccupancyOf(threads, registers, sharedBytes));
    }
}
